import type { Queryable, Statement } from '../database.ts';
import type { ConsumedEvent } from '../subscriptions/consumer.ts';
import type { Projection } from '../projections/projection.ts';
import { STREAM_PREFIXES } from '../events/streams.ts';
import { leafHash, linkHash, SEAL_INTERVAL } from './chain.ts';
import { occurredAt } from './occurred-at.ts';
import { HASHES_PER_PAGE, loadHead } from './seals.ts';
import type { Head } from './seals.ts';

/**
 * The hash of every event, the chain over all of them, and a seal every {@link SEAL_INTERVAL} events. Events are taken as
 * they are stored, whether this build can read them or not. The format is that of `docs/audit-format.md`.
 */
export const auditSealsProjection: Projection = {
  name: 'audit_seals',
  tables: ['audit_seals', 'audit_hashes', 'audit_head'],
  prefixes: STREAM_PREFIXES,
  asStored: true,
  unhurried: true,
  apply,
};

interface SealRow {
  readonly number: number;
  readonly chain: Buffer;
  readonly position: bigint;
  readonly earliest: Date | null;
  readonly latest: Date | null;
}

async function apply(batch: readonly ConsumedEvent[], tx: Queryable): Promise<readonly Statement[]> {
  if (batch.length === 0) return [];
  const before = await loadHead(tx);
  let { events, chain, earliest, latest } = before;
  const leaves: Buffer[] = [];
  const seals: SealRow[] = [];
  for (const { recorded } of batch) {
    const leaf = leafHash(recorded);
    leaves.push(leaf);
    chain = linkHash(chain, leaf);
    events++;
    const time = occurredAt(recorded);
    if (time !== null && (earliest === null || time < earliest)) earliest = time;
    if (time !== null && (latest === null || time > latest)) latest = time;
    if (events % SEAL_INTERVAL === 0) {
      const number = events / SEAL_INTERVAL;
      seals.push({ number, chain, position: recorded.position, earliest, latest });
      earliest = latest = null;
    }
  }
  return [
    addHashes(before.events, leaves),
    ...addSeals(seals),
    saveHead({ events, chain, earliest, latest }),
  ];
}

/** @param before how many hashes there are */
function addHashes(before: number, leaves: readonly Buffer[]): Statement {
  const pages = new Map<number, Buffer[]>();
  for (const [index, leaf] of leaves.entries()) {
    const page = Math.floor((before + index) / HASHES_PER_PAGE);
    const hashes = pages.get(page);
    if (hashes) hashes.push(leaf);
    else pages.set(page, [leaf]);
  }
  return {
    sql: `INSERT INTO audit_hashes (page, hashes) SELECT * FROM unnest($1::bigint[], $2::bytea[])
     ON CONFLICT (page) DO UPDATE SET hashes = audit_hashes.hashes || excluded.hashes`,
    values: [[...pages.keys()], [...pages.values()].map((hashes) => Buffer.concat(hashes))],
  };
}

function addSeals(seals: readonly SealRow[]): Statement[] {
  if (seals.length === 0) return [];
  return [
    {
      sql: `INSERT INTO audit_seals (number, chain, position, earliest, latest)
     SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::timestamptz[], $5::timestamptz[])`,
      values: [
        seals.map(({ number }) => number),
        seals.map(({ chain }) => chain),
        seals.map(({ position }) => position),
        seals.map(({ earliest }) => earliest),
        seals.map(({ latest }) => latest),
      ],
    },
  ];
}

function saveHead({ events, chain, earliest, latest }: Head): Statement {
  return {
    sql: `INSERT INTO audit_head (events, chain, earliest, latest) VALUES ($1, $2, $3, $4)
     ON CONFLICT (only_row) DO UPDATE
     SET events = excluded.events, chain = excluded.chain, earliest = excluded.earliest, latest = excluded.latest`,
    values: [events, chain, earliest, latest],
  };
}
