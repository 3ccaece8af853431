import type { Queryable, Statement } from '../database.ts';
import { isJobEvent } from '../events/codec.ts';
import { JOB_PREFIX } from '../events/job.ts';
import type { ConsumedEvent } from '../subscriptions/consumer.ts';
import { addStored, FiguresByRow, saveFigures } from './job-stats/figures.ts';
import { tallyEvent } from './job-stats/tally.ts';
import type { CountedJob } from './job-stats/tally.ts';
import type { Projection } from './projection.ts';

/** What happened to jobs, by user, UTC day and type; docs/api.md says what is counted. */
export const jobStatsProjection: Projection = {
  name: 'job_stats',
  tables: ['job_stats', 'job_stats_jobs'],
  prefixes: [JOB_PREFIX],
  unhurried: true,
  apply,
};

/**
 * Counts the batch in memory and adds it to what is there: a handful of statements, however many events. The rows are
 * read, added to and written back; the checkpoint's row, which the transaction has moved, keeps everyone else from doing the same.
 */
async function apply(events: readonly ConsumedEvent[], tx: Queryable): Promise<readonly Statement[]> {
  const created = new Set(
    events.filter(({ event }) => event.type === 'JobCreated').map(({ recorded }) => idOf(recorded)),
  );
  const ids = new Set(events.map(({ recorded }) => idOf(recorded)));
  const known = await loadJobs(
    [...ids].filter((id) => !created.has(id)),
    tx,
  );
  const jobs = new Map(known);
  const done = new Set<string>();
  const figures = new FiguresByRow();
  for (const { event, recorded } of events) {
    if (!isJobEvent(event)) continue;
    const id = idOf(recorded);
    const at = Date.parse(recorded.metadata.occurredAt);
    const tally = tallyEvent(jobs.get(id) ?? null, event, at);
    figures.add(tally, at);
    if (tally.count !== 'done') {
      jobs.set(id, tally.job);
    } else {
      // Nothing can come after it: whoever is DONE is not submitted again.
      jobs.delete(id);
      done.add(id);
    }
  }
  await addStored(figures, tx);
  return [...saveFigures(figures), ...forgetJobs([...done].filter((id) => known.has(id))), ...saveJobs(jobs)];
}

const idOf = (recorded: { stream: string }): string => recorded.stream.slice(JOB_PREFIX.length);

interface JobRow {
  readonly id: string;
  readonly user_id: string;
  readonly type: string;
  readonly due_at: Date | null;
  readonly started_at: Date | null;
}

async function loadJobs(ids: readonly string[], tx: Queryable): Promise<Map<string, CountedJob>> {
  if (ids.length === 0) return new Map();
  const { rows } = await tx.query<JobRow>(
    'SELECT id, user_id, type, due_at, started_at FROM job_stats_jobs WHERE id = ANY($1::uuid[])',
    [ids],
  );
  return new Map(
    rows.map(({ id, user_id, type, due_at, started_at }) => [
      id,
      { userId: user_id, type, dueAt: due_at?.getTime() ?? null, startedAt: started_at?.getTime() ?? null },
    ]),
  );
}

function saveJobs(jobs: ReadonlyMap<string, CountedJob>): Statement[] {
  if (jobs.size === 0) return [];
  const rows = [...jobs.values()];
  return [
    {
      sql: `INSERT INTO job_stats_jobs (id, user_id, type, due_at, started_at)
     SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[])
     ON CONFLICT (id) DO UPDATE SET due_at = excluded.due_at, started_at = excluded.started_at`,
      values: [
        [...jobs.keys()],
        rows.map(({ userId }) => userId),
        rows.map(({ type }) => type),
        rows.map(({ dueAt }) => isoOf(dueAt)),
        rows.map(({ startedAt }) => isoOf(startedAt)),
      ],
    },
  ];
}

function forgetJobs(ids: readonly string[]): Statement[] {
  return ids.length === 0
    ? []
    : [{ sql: 'DELETE FROM job_stats_jobs WHERE id = ANY($1::uuid[])', values: [ids] }];
}

const isoOf = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());
