import type { Database, Queryable } from '../database.ts';
import { errorMessage } from '../errors.ts';
import type { Logger } from '../logger.ts';
import { startLoop } from '../service.ts';
import type { Service } from '../service.ts';
import { isAborted, sleep } from '../waiting.ts';
import { linkHash, SEAL_INTERVAL } from './chain.ts';
import { loadHashes, loadHead, loadLastSignedHead, loadSealBefore, loadSeals } from './seals.ts';
import type { ChainPlace, SignedHead } from './seals.ts';
import { headText } from './signing.ts';
import type { SigningKey } from './signing.ts';

export interface SealSignerOptions {
  readonly database: Database;
  readonly key: SigningKey;
  readonly logger: Logger;
}

export interface SealSigner {
  /**
   * Signs every seal that has come since the last signature, and the head of the chain when the last signature is a minute
   * old.
   * @param now ISO 8601
   */
  signNew(now: string): Promise<SigningOutcome>;
}

/**
 * `contradicted`: the chain no longer goes through what was signed last, and nothing is signed until somebody has looked
 * into it. `behind`: it has not come as far as that yet.
 */
export type SigningOutcome = 'signed' | 'nothing-new' | 'behind' | 'contradicted';

/** Milliseconds between two looks, and between two signatures of events that no seal has yet. */
const LOOK_MS = 5_000;
const HEAD_MS = 60_000;
/** Seals signed in one transaction. */
const SEALS = 500;

/**
 * Signs seals after they have been made, so that what the projection writes depends on the events alone. Any number of
 * processes may do so at once.
 */
export function startSealSigner(options: SealSignerOptions): Service {
  const signer = createSealSigner(options);
  const { logger } = options;
  return startLoop(async (signal) => {
    let last: SigningOutcome | null = null;
    while (!isAborted(signal)) {
      try {
        const outcome = await signer.signNew(new Date().toISOString());
        if (outcome !== last) report(outcome, options);
        last = outcome;
        if (outcome === 'signed') continue;
      } catch (error) {
        logger.warn({ reason: errorMessage(error) }, 'Seals not signed; trying again');
      }
      await sleep(LOOK_MS, signal);
    }
  });
}

function report(outcome: SigningOutcome, { logger, key }: SealSignerOptions): void {
  const details = { keyId: key.id };
  if (outcome === 'behind') {
    logger.warn(details, 'More events have been signed than there are seals for; waiting for them');
  } else if (outcome === 'contradicted') {
    logger.error(
      details,
      'The events are not those that were signed; nothing is signed: asyncly audit verify says more',
    );
  }
}

export function createSealSigner({ database, key }: Omit<SealSignerOptions, 'logger'>): SealSigner {
  const statement = (
    { events, chain }: Pick<ChainPlace, 'events' | 'chain'>,
    signedAt: string,
  ): SignedHead => {
    const head = { events, chain: chain.toString('hex'), keyId: key.id, signedAt };
    return { ...head, signature: key.sign(headText(head)) };
  };

  return {
    async signNew(now) {
      const last = await loadLastSignedHead(database);
      const head = await loadHead(database);
      if (last !== null) {
        if (last.events > head.events) return 'behind';
        if ((await chainAt(database, last.events)) !== last.chain) return 'contradicted';
      }
      const signed = last?.events ?? 0;
      const seals = await loadSeals(database, signed, signed + SEALS * SEAL_INTERVAL);
      if (seals.length > 0) {
        await save(
          database,
          seals.map((seal) => statement(seal, now)),
        );
        return 'signed';
      }
      const due = last === null || Date.parse(now) - Date.parse(last.signedAt) >= HEAD_MS;
      if (head.events <= signed || !due) return 'nothing-new';
      await save(database, [statement(head, now)]);
      return 'signed';
    },
  };
}

/** The chain over the first so many events, as the database has it. @returns hex; null when it lacks some of it */
async function chainAt(database: Queryable, events: number): Promise<string | null> {
  const seal = await loadSealBefore(database, events);
  const hashes = await loadHashes(database, seal.events + 1, events - seal.events);
  let { chain } = seal;
  for (const leaf of hashes) {
    if (leaf === undefined) return null;
    chain = linkHash(chain, leaf);
  }
  return chain.toString('hex');
}

/** Of what is signed between two seals, only the last is kept: it says all that those before it said. */
async function save(database: Database, heads: readonly SignedHead[]): Promise<void> {
  await database.transaction(async (tx) => {
    await tx.query(
      `INSERT INTO audit_signatures (events, chain, key_id, signed_at, signature)
       SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::timestamptz[], $5::bytea[])
       ON CONFLICT DO NOTHING`,
      [
        heads.map(({ events }) => events),
        heads.map(({ chain }) => Buffer.from(chain, 'hex')),
        heads.map(({ keyId }) => keyId),
        heads.map(({ signedAt }) => signedAt),
        heads.map(({ signature }) => signature),
      ],
    );
    await tx.query('DELETE FROM audit_signatures WHERE events % $1 <> 0 AND events < $2', [
      SEAL_INTERVAL,
      heads.at(-1)?.events ?? 0,
    ]);
  });
}
