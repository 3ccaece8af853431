import type { Queryable } from '../database.ts';
import { START } from '../events/event-store.ts';
import type { Position } from '../events/event-store.ts';
import { GENESIS, HASH_BYTES, SEAL_INTERVAL } from './chain.ts';
import type { HeadStatement } from './signing.ts';

/** Hashes in one row of `audit_hashes`. */
export const HASHES_PER_PAGE = 32;

/** Where the chain stands in the database. */
export interface Head {
  /** Events the chain covers, from the first one on. */
  readonly events: number;
  readonly chain: Buffer;
  /** The span of the events that no seal has yet. */
  readonly earliest: Date | null;
  readonly latest: Date | null;
}

/** A place to go on from. */
export interface ChainPlace {
  readonly events: number;
  readonly chain: Buffer;
  /** Of the last of these events. */
  readonly position: Position;
}

/** The place before the first event. */
export const BEGINNING: ChainPlace = { events: 0, chain: GENESIS, position: START };

export interface Seal extends ChainPlace {
  readonly earliest: Date | null;
  readonly latest: Date | null;
}

export interface SignedHead extends HeadStatement {
  readonly signature: Buffer;
}

export async function loadHead(database: Queryable): Promise<Head> {
  const { rows } = await database.query<Omit<Head, 'events'> & { events: bigint }>(
    'SELECT events, chain, earliest, latest FROM audit_head',
  );
  const [row] = rows;
  return row
    ? { ...row, events: Number(row.events) }
    : { events: 0, chain: GENESIS, earliest: null, latest: null };
}

type SealRow = Omit<Seal, 'events'> & { readonly number: bigint };

const toSeal = ({ number, ...row }: SealRow): Seal => ({ ...row, events: Number(number) * SEAL_INTERVAL });

/** The seals that cover more than `after` events, but no more than `upTo`, in order. */
export async function loadSeals(database: Queryable, after: number, upTo: number): Promise<Seal[]> {
  const { rows } = await database.query<SealRow>(
    `SELECT number, chain, position, earliest, latest FROM audit_seals
     WHERE number > $1 AND number <= $2 ORDER BY number`,
    [Math.floor(after / SEAL_INTERVAL), Math.floor(upTo / SEAL_INTERVAL)],
  );
  return rows.map(toSeal);
}

/** The newest seal that covers no more than `events` events; {@link BEGINNING} before the first. */
export async function loadSealBefore(database: Queryable, events: number): Promise<ChainPlace> {
  const { rows } = await database.query<SealRow>(
    `SELECT number, chain, position, earliest, latest FROM audit_seals
     WHERE number <= $1 ORDER BY number DESC LIMIT 1`,
    [Math.floor(events / SEAL_INTERVAL)],
  );
  return rows[0] ? toSeal(rows[0]) : BEGINNING;
}

/**
 * The kept hashes of events.
 * @param first number of an event, from 1
 * @returns `count` places, undefined where nothing is kept
 */
export async function loadHashes(
  database: Queryable,
  first: number,
  count: number,
): Promise<(Buffer | undefined)[]> {
  const pageOf = (number: number): number => Math.floor((number - 1) / HASHES_PER_PAGE);
  const { rows } = await database.query<{ page: bigint; hashes: Buffer }>(
    'SELECT page, hashes FROM audit_hashes WHERE page BETWEEN $1 AND $2',
    [pageOf(first), pageOf(first + count - 1)],
  );
  const pages = new Map(rows.map(({ page, hashes }) => [Number(page), hashes]));
  return Array.from({ length: count }, (_, index) => {
    const at = ((first + index - 1) % HASHES_PER_PAGE) * HASH_BYTES;
    const hash = pages.get(pageOf(first + index))?.subarray(at, at + HASH_BYTES);
    return hash?.length === HASH_BYTES ? hash : undefined;
  });
}

/** What was signed of more than `after` events, but no more than `upTo`, in order. */
export async function loadSignedHeads(
  database: Queryable,
  after: number,
  upTo: number,
): Promise<SignedHead[]> {
  const { rows } = await database.query<SignedHeadRow>(
    `SELECT events, chain, key_id, signed_at, signature FROM audit_signatures
     WHERE events > $1 AND events <= $2 ORDER BY events, signed_at`,
    [after, upTo],
  );
  return rows.map(toSignedHead);
}

interface SignedHeadRow {
  readonly events: bigint;
  readonly chain: Buffer;
  readonly key_id: string;
  readonly signed_at: Date;
  readonly signature: Buffer;
}

function toSignedHead(row: SignedHeadRow): SignedHead {
  return {
    events: Number(row.events),
    chain: row.chain.toString('hex'),
    keyId: row.key_id,
    signedAt: row.signed_at.toISOString(),
    signature: row.signature,
  };
}

/** What was signed last of all. */
export async function loadLastSignedHead(database: Queryable): Promise<SignedHead | null> {
  const { rows } = await database.query<SignedHeadRow>(
    `SELECT events, chain, key_id, signed_at, signature FROM audit_signatures
     ORDER BY events DESC, signed_at DESC LIMIT 1`,
  );
  return rows[0] ? toSignedHead(rows[0]) : null;
}
