import { randomBytes } from 'node:crypto';
import type { Database, Queryable } from '../database.ts';

/** The secret that a user's receivers verify webhooks with. */
export interface WebhookSecret {
  /** `whsec_` and the key in base64, as Standard Webhooks writes it. */
  readonly secret: string;
  readonly createdAt: string;
  /** Until when the secrets before it sign as well; null when none does. */
  readonly previousExpiresAt: string | null;
}

export interface WebhookSecrets {
  /** The present secret, made on first use. @returns null when there is no such user */
  present(userId: string): Promise<WebhookSecret | null>;
  /** Puts a new secret in its place; the one before goes on signing for 24 h. @returns null when there is no such user */
  rotate(userId: string): Promise<WebhookSecret | null>;
  /** The keys to sign with now, the present one first; made on first use, empty when there is no such user. */
  signingKeys(userId: string): Promise<Buffer[]>;
}

/** As long as the hash it is used with; Standard Webhooks asks for 24 to 64 bytes. */
const SECRET_BYTES = 32;
const OVERLAP = '24 hours';
/** Secrets that sign beside the present one: each adds a signature to every webhook's header. */
const MOST_PREVIOUS = 4;

interface SecretRow {
  readonly secret: Buffer;
  readonly created_at: Date;
  readonly expires_at: Date | null;
}

/** The rows of `webhook_secrets`, judged by the database's clock. */
export function createWebhookSecrets(database: Database): WebhookSecrets {
  async function active(userId: string, on: Queryable): Promise<SecretRow[]> {
    const { rows } = await on.query<SecretRow>(
      `SELECT secret, created_at, expires_at FROM webhook_secrets
       WHERE user_id = $1 AND (expires_at IS NULL OR expires_at > now())
       ORDER BY expires_at DESC NULLS FIRST, created_at DESC LIMIT ${1 + MOST_PREVIOUS}`,
      [userId],
    );
    return rows;
  }

  async function activeOrNew(userId: string, on: Queryable = database): Promise<SecretRow[]> {
    const rows = await active(userId, on);
    if (rows[0]?.expires_at === null) return rows;
    await add(userId, on);
    return active(userId, on);
  }

  return {
    present: async (userId) => view(await activeOrNew(userId)),
    rotate: (userId) =>
      database.transaction(async (tx) => {
        // One rotation of a user's at a time: two at once would both replace the same secret.
        await tx.query('SELECT FROM users WHERE id = $1 FOR UPDATE', [userId]);
        await tx.query('DELETE FROM webhook_secrets WHERE user_id = $1 AND expires_at <= now()', [userId]);
        await tx.query(
          `UPDATE webhook_secrets SET expires_at = now() + interval '${OVERLAP}'
           WHERE user_id = $1 AND expires_at IS NULL`,
          [userId],
        );
        await tx.query(
          `DELETE FROM webhook_secrets WHERE user_id = $1 AND secret NOT IN (
             SELECT secret FROM webhook_secrets WHERE user_id = $1 ORDER BY expires_at DESC LIMIT ${MOST_PREVIOUS})`,
          [userId],
        );
        await add(userId, tx);
        return view(await active(userId, tx));
      }),
    signingKeys: async (userId) => (await activeOrNew(userId)).map(({ secret }) => secret),
  };
}

/**
 * Writes a new present secret, unless there is one or there is no such user. The user's row is locked before the secret is written, as a
 * rotation does it: in the other order, which is that of the foreign key's check, each would wait for the other.
 */
async function add(userId: string, on: Queryable): Promise<void> {
  await on.query(
    `INSERT INTO webhook_secrets (user_id, secret, created_at) SELECT id, $2, now() FROM users WHERE id = $1 FOR KEY SHARE
     ON CONFLICT (user_id) WHERE expires_at IS NULL DO NOTHING`,
    [userId, randomBytes(SECRET_BYTES)],
  );
}

function view([present, ...previous]: readonly SecretRow[]): WebhookSecret | null {
  if (present === undefined) return null;
  return {
    secret: `whsec_${present.secret.toString('base64')}`,
    createdAt: present.created_at.toISOString(),
    previousExpiresAt: previous[0]?.expires_at?.toISOString() ?? null,
  };
}
