import type { Database } from '../database.ts';
import { MAX_EMAIL_LENGTH } from './credentials.ts';

export interface StoredUser {
  readonly id: string;
  readonly email: string;
  readonly passwordHash: string;
  readonly createdAt: Date;
}

export interface StoredRefreshToken {
  readonly hash: Buffer;
  readonly userId: string;
  readonly sessionId: string;
  readonly expiresAt: Date;
  readonly now: Date;
}

/** Most expired tokens that one login clears away. */
const PRUNED_AT_ONCE = 100;

/** The rows of `migrations/0003_identity.sql`. */
export function createIdentityStore(database: Database) {
  return {
    /** By address, whatever its case. */
    async findUser(email: string): Promise<Pick<StoredUser, 'id' | 'passwordHash'> | null> {
      // No such address is stored, and Postgres takes no NUL.
      if (email.length > MAX_EMAIL_LENGTH || email.includes('\0')) return null;
      const { rows } = await database.query<{ id: string; passwordHash: string }>(
        'SELECT id, password_hash AS "passwordHash" FROM users WHERE lower(email COLLATE "C") = lower($1 COLLATE "C")',
        [email],
      );
      return rows[0] ?? null;
    },

    /** Writes a user and an API key. @returns false, and nothing written, when the address is taken */
    async addUser({ id, email, passwordHash, createdAt }: StoredUser, apiKeyHash: Buffer): Promise<boolean> {
      const { rowCount } = await database.query(
        `WITH new_user AS (
           INSERT INTO users (id, email, password_hash, created_at) VALUES ($1, $2, $3, $4)
           ON CONFLICT (lower(email COLLATE "C")) DO NOTHING
           RETURNING id, created_at
         )
         INSERT INTO api_keys (key_hash, user_id, created_at) SELECT $5, id, created_at FROM new_user`,
        [id, email, passwordHash, createdAt, apiKeyHash],
      );
      return rowCount === 1;
    },

    /** Writes a token, and clears a bounded number of expired ones away while at it. */
    async addRefreshToken({ hash, userId, sessionId, expiresAt, now }: StoredRefreshToken): Promise<void> {
      await database.query(
        `WITH expired AS (
           SELECT token_hash FROM refresh_tokens WHERE expires_at <= $4
           ORDER BY expires_at LIMIT ${PRUNED_AT_ONCE} FOR UPDATE SKIP LOCKED
         ), pruned AS (
           DELETE FROM refresh_tokens USING expired WHERE refresh_tokens.token_hash = expired.token_hash
         )
         INSERT INTO refresh_tokens (token_hash, user_id, expires_at, created_at, session_id) VALUES ($1, $2, $3, $4, $5)`,
        [hash, userId, expiresAt, now, sessionId],
      );
    },

    /** Whose token it is; null when it was revoked. Its expiry stands in the token itself. */
    async refreshTokenOwner(hash: Buffer): Promise<string | null> {
      return ownerOf(
        await database.query<OwnerRow>('SELECT user_id FROM refresh_tokens WHERE token_hash = $1', [hash]),
      );
    },

    /** @returns the session that ends with it; null when it was not in force */
    async removeRefreshToken(hash: Buffer): Promise<string | null> {
      const { rows } = await database.query<{ session_id: string }>(
        'DELETE FROM refresh_tokens WHERE token_hash = $1 RETURNING session_id',
        [hash],
      );
      return rows[0]?.session_id ?? null;
    },

    /** Which of these sessions have not been logged out of. */
    async liveSessions(sessionIds: readonly string[]): Promise<Set<string>> {
      const { rows } = await database.query<{ session_id: string }>(
        'SELECT session_id FROM refresh_tokens WHERE session_id = ANY($1::uuid[])',
        [sessionIds],
      );
      return new Set(rows.map((row) => row.session_id));
    },

    /** Which of these keys are in force, by their hashes in hex. */
    async liveApiKeys(hashes: readonly string[]): Promise<Set<string>> {
      const { rows } = await database.query<{ hash: string }>(
        `SELECT encode(key_hash, 'hex') AS hash FROM api_keys
         WHERE key_hash IN (SELECT decode(given, 'hex') FROM unnest($1::text[]) AS given)`,
        [hashes],
      );
      return new Set(rows.map((row) => row.hash));
    },

    async apiKeyOwner(hash: Buffer): Promise<string | null> {
      return ownerOf(
        await database.query<OwnerRow>('SELECT user_id FROM api_keys WHERE key_hash = $1', [hash]),
      );
    },
  };
}

interface OwnerRow {
  readonly user_id: string;
}

function ownerOf({ rows }: { readonly rows: readonly OwnerRow[] }): string | null {
  return rows[0]?.user_id ?? null;
}
