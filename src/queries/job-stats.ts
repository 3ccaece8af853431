import type { Database, Queryable } from '../database.ts';
import { CheckpointAheadError, START } from '../events/event-store.ts';
import type { EventStore, Position } from '../events/event-store.ts';
import { jobStatsProjection } from '../projections/job-stats.ts';
import { meanOf, p95Of } from '../projections/job-stats/durations.ts';
import type { Histogram } from '../projections/job-stats/durations.ts';
import { COUNTS } from '../projections/job-stats/tally.ts';
import type { Count } from '../projections/job-stats/tally.ts';

export interface JobStatsFilter {
  /** First and last day, such as `2026-05-19`, of UTC, both included. */
  readonly from: string;
  readonly to: string;
  /** null: every type. */
  readonly type: string | null;
}

interface DurationFigures {
  readonly count: number;
  /** Whole milliseconds, null without a duration. */
  readonly meanMs: number | null;
  /** Off by 1/32 at most; exact up to 31 ms. */
  readonly p95Ms: number | null;
}

export type JobFigures = Readonly<Record<Count, number>> & {
  readonly wait: DurationFigures;
  readonly run: DurationFigures;
};

export interface JobStats {
  /** Everything that happened before is counted; null when the event store does not say. ISO 8601, UTC. */
  readonly asOf: string | null;
  /** Of the whole span and all types asked for; its durations are those of every job, not means of means. */
  readonly totals: JobFigures;
  /** By day, then by type. What nothing happened to has no entry. */
  readonly days: readonly (JobFigures & { readonly day: string; readonly type: string })[];
}

export interface JobStatsQueries {
  /**
   * What happened to a user's jobs, from the read model: it may lag, see `asOf`.
   * @returns null when there are more than `most` entries of a day and a type
   */
  get(userId: string, filter: JobStatsFilter, most: number): Promise<JobStats | null>;
}

export function createJobStatsQueries({
  database,
  store,
}: {
  database: Database;
  store: Pick<EventStore, 'subscribe'>;
}): JobStatsQueries {
  return {
    async get(userId, { from, to, type }, most) {
      const found = await database.transaction(async (tx) => {
        // All of it from one snapshot.
        await tx.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
        const span = [userId, from, to, type];
        const rows = await readRows(tx, span, most + 1);
        if (rows.length > most) return null;
        const totals = await readTotals(tx, span, rows);
        return { position: await readCheckpoint(tx), totals, days: rows.map(entryOf) };
      });
      if (found === null) return null;
      const { position, ...figures } = found;
      return { asOf: await currentAt(store, position), ...figures };
    },
  };
}

/** How long the event store is given to tell what is not counted yet. */
const LOOK_MS = 1_000;
/** Only the first event is looked at, but the fewer are asked for, the fewer others are passed over at a time. */
const LOOK_EVENTS = 20;

/** When the first thing after a position happened; now, when nothing has; null when the store does not say. */
async function currentAt(store: Pick<EventStore, 'subscribe'>, after: Position): Promise<string | null> {
  const now = new Date().toISOString();
  const looked = new AbortController();
  const signal = AbortSignal.any([looked.signal, AbortSignal.timeout(LOOK_MS)]);
  const options = { after, prefixes: jobStatsProjection.prefixes, batchSize: LOOK_EVENTS, signal };
  try {
    for await (const message of store.subscribe(options))
      return message.kind === 'caught-up' ? now : (message.events[0]?.metadata.occurredAt ?? now);
    return null;
  } catch (error) {
    // It was restored from an older backup: the projection has stopped and says so.
    if (error instanceof CheckpointAheadError) return null;
    throw error;
  } finally {
    looked.abort();
  }
}

type StatsRow = Readonly<Record<Count, number>> & {
  readonly day: string;
  readonly type: string;
  readonly wait_count: number;
  readonly wait_ms: bigint;
  readonly wait_p95_ms: bigint | null;
  readonly run_count: number;
  readonly run_ms: bigint;
  readonly run_p95_ms: bigint | null;
};

/** Parameters: user, first day, last day, type or null. */
const SPAN = 'user_id = $1 AND day BETWEEN $2::date AND $3::date AND ($4::text IS NULL OR type = $4)';

async function readRows(tx: Queryable, span: readonly unknown[], most: number): Promise<StatsRow[]> {
  // The day as text: the driver makes a point in local time of a date.
  const { rows } = await tx.query<StatsRow>(
    `SELECT to_char(day, 'YYYY-MM-DD') AS day, type, ${COUNTS.join(', ')}, wait_count, wait_ms, wait_p95_ms, run_count, run_ms,
            run_p95_ms
     FROM job_stats WHERE ${SPAN} ORDER BY job_stats.day, type LIMIT $5`,
    [...span, most],
  );
  return rows;
}

function entryOf(row: StatsRow): JobStats['days'][number] {
  const { day, type, created, done, failed, cancelled, retried } = row;
  const wait = durations(row.wait_count, row.wait_ms, row.wait_p95_ms);
  const run = durations(row.run_count, row.run_ms, row.run_p95_ms);
  return { day, type, created, done, failed, cancelled, retried, wait, run };
}

async function readTotals(
  tx: Queryable,
  span: readonly unknown[],
  rows: readonly StatsRow[],
): Promise<JobFigures> {
  const { wait, run } = await readHistograms(tx, span);
  const sum = (valueOf: (row: StatsRow) => number): number =>
    rows.reduce((total, row) => total + valueOf(row), 0);
  const sumMs = (valueOf: (row: StatsRow) => bigint): bigint =>
    rows.reduce((total, row) => total + valueOf(row), 0n);
  return {
    created: sum(({ created }) => created),
    done: sum(({ done }) => done),
    failed: sum(({ failed }) => failed),
    cancelled: sum(({ cancelled }) => cancelled),
    retried: sum(({ retried }) => retried),
    wait: durations(
      sum(({ wait_count }) => wait_count),
      sumMs(({ wait_ms }) => wait_ms),
      p95Of(wait),
    ),
    run: durations(
      sum(({ run_count }) => run_count),
      sumMs(({ run_ms }) => run_ms),
      p95Of(run),
    ),
  };
}

/** The histograms of all rows, added up where they are: there may be thousands. */
async function readHistograms(
  tx: Queryable,
  span: readonly unknown[],
): Promise<{ readonly wait: Histogram; readonly run: Histogram }> {
  const { rows } = await tx.query<{ kind: string; bucket: number; count: bigint }>(
    `SELECT kind, bucket, sum(count) AS count FROM job_stats, LATERAL (
       SELECT 'wait', * FROM unnest(wait_buckets, wait_counts)
       UNION ALL SELECT 'run', * FROM unnest(run_buckets, run_counts)
     ) AS histogram (kind, bucket, count)
     WHERE ${SPAN} GROUP BY kind, bucket ORDER BY bucket`,
    span,
  );
  const histogram = (wanted: string): Histogram =>
    rows.flatMap(({ kind, bucket, count }) => (kind === wanted ? [[bucket, Number(count)] as const] : []));
  return { wait: histogram('wait'), run: histogram('run') };
}

function durations(count: number, totalMs: bigint, p95Ms: bigint | number | null): DurationFigures {
  return { count, meanMs: meanOf(count, totalMs), p95Ms: p95Ms === null ? null : Number(p95Ms) };
}

async function readCheckpoint(tx: Queryable): Promise<Position> {
  const { rows } = await tx.query<{ position: Position }>(
    'SELECT position FROM checkpoints WHERE name = $1',
    [jobStatsProjection.name],
  );
  return rows[0]?.position ?? START;
}
