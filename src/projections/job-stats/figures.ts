import type { Queryable, Statement } from '../../database.ts';
import { Durations, p95Of } from './durations.ts';
import type { Histogram } from './durations.ts';
import { COUNTS } from './tally.ts';
import type { Count, Tally } from './tally.ts';

/** A row of `job_stats`: what happened to the jobs of one user and type on one day. */
export interface Figures {
  readonly userId: string;
  /** Of UTC, such as `2026-05-19`. */
  readonly day: string;
  readonly type: string;
  readonly counts: Record<Count, number>;
  readonly wait: Durations;
  readonly run: Durations;
}

type Key = Pick<Figures, 'userId' | 'day' | 'type'>;

/** Figures by their rows, to be added to. */
export class FiguresByRow {
  readonly #rows = new Map<string, Figures>();

  get rows(): readonly Figures[] {
    return [...this.#rows.values()];
  }

  /** @param at when the event occurred, in milliseconds since the epoch */
  add({ job: { userId, type }, count, waitMs, runMs }: Tally, at: number): void {
    if (count === undefined && waitMs === undefined && runMs === undefined) return;
    const row = this.of({ userId, day: new Date(at).toISOString().slice(0, 'yyyy-mm-dd'.length), type });
    if (count !== undefined) row.counts[count]++;
    if (waitMs !== undefined) row.wait.add(waitMs);
    if (runMs !== undefined) row.run.add(runMs);
  }

  of({ userId, day, type }: Key): Figures {
    // No text of an event has a NUL in it.
    const key = `${userId}\0${day}\0${type}`;
    const known = this.#rows.get(key);
    if (known) return known;
    const counts = { created: 0, done: 0, failed: 0, cancelled: 0, retried: 0 };
    const row = { userId, day, type, counts, wait: new Durations(), run: new Durations() };
    this.#rows.set(key, row);
    return row;
  }
}

type FiguresRow = Readonly<Record<Count, number>> & {
  readonly user_id: string;
  readonly day: string;
  readonly type: string;
  readonly wait_count: number;
  readonly wait_ms: bigint;
  readonly wait_buckets: readonly number[];
  readonly wait_counts: readonly number[];
  readonly run_count: number;
  readonly run_ms: bigint;
  readonly run_buckets: readonly number[];
  readonly run_counts: readonly number[];
};

/** Reads the rows that are there already and adds what they hold. They must not change before {@link saveFigures}. */
export async function addStored(figures: FiguresByRow, tx: Queryable): Promise<void> {
  const keys = figures.rows;
  if (keys.length === 0) return;
  // The day as text: the driver makes a point in local time of a date. Histograms as JSON: it parses that several times faster than arrays.
  const { rows } = await tx.query<FiguresRow>(
    `SELECT user_id, to_char(day, 'YYYY-MM-DD') AS day, type, ${COUNTS.join(', ')},
            wait_count, wait_ms, to_json(wait_buckets) AS wait_buckets, to_json(wait_counts) AS wait_counts,
            run_count, run_ms, to_json(run_buckets) AS run_buckets, to_json(run_counts) AS run_counts
     FROM job_stats JOIN unnest($1::text[], $2::date[], $3::text[]) AS wanted (user_id, day, type) USING (user_id, day, type)`,
    [keys.map(({ userId }) => userId), keys.map(({ day }) => day), keys.map(({ type }) => type)],
  );
  for (const row of rows) {
    const { counts, wait, run } = figures.of({ userId: row.user_id, day: row.day, type: row.type });
    for (const count of COUNTS) counts[count] += row[count];
    wait.addStored(row.wait_count, row.wait_ms, zip(row.wait_buckets, row.wait_counts));
    run.addStored(row.run_count, row.run_ms, zip(row.run_buckets, row.run_counts));
  }
}

type Column = readonly [name: string, type: string, valueOf: (figures: Figures) => unknown];

const KEY: readonly Column[] = [
  ['user_id', 'text', ({ userId }) => userId],
  ['day', 'date', ({ day }) => day],
  ['type', 'text', ({ type }) => type],
];
const FIGURES: readonly Column[] = [
  ...COUNTS.map((count): Column => [count, 'integer', ({ counts }) => counts[count]]),
  ...durationColumns('wait'),
  ...durationColumns('run'),
];
const COLUMNS = [...KEY, ...FIGURES];

function durationColumns(which: 'wait' | 'run'): readonly Column[] {
  return [
    [`${which}_count`, 'integer', ({ [which]: durations }) => durations.count],
    [`${which}_ms`, 'bigint', ({ [which]: durations }) => durations.totalMs],
    [`${which}_p95_ms`, 'bigint', ({ [which]: { histogram } }) => p95Of(histogram)],
    [
      `${which}_buckets`,
      'smallint[]',
      ({ [which]: { histogram } }) => list(histogram.map(([bucket]) => bucket)),
    ],
    [
      `${which}_counts`,
      'integer[]',
      ({ [which]: { histogram } }) => list(histogram.map(([, count]) => count)),
    ],
  ];
}

const list = (numbers: readonly number[]): string => `{${numbers.join(',')}}`;

const zip = (buckets: readonly number[], counts: readonly number[]): Histogram =>
  buckets.map((bucket, index) => [bucket, counts[index] ?? 0]);

/** All values go as text: `unnest` would take a histogram's own arrays apart down to their elements. */
const SAVE = `INSERT INTO job_stats (${COLUMNS.map(([name]) => name).join(', ')})
  SELECT ${COLUMNS.map(([name, type]) => `${name}::${type}`).join(', ')}
  FROM unnest(${COLUMNS.map((_, index) => `$${index + 1}::text[]`).join(', ')}) AS given (${COLUMNS.map(([name]) => name).join(', ')})
  ON CONFLICT (user_id, day, type) DO UPDATE SET ${FIGURES.map(([name]) => `${name} = excluded.${name}`).join(', ')}`;

/** Writes rows as they are, over those that are there. */
export function saveFigures({ rows }: FiguresByRow): Statement[] {
  return rows.length === 0 ? [] : [{ sql: SAVE, values: COLUMNS.map(([, , valueOf]) => rows.map(valueOf)) }];
}
