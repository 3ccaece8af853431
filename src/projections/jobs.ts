import type { Queryable, Statement } from '../database.ts';
import { isJobEvent } from '../events/codec.ts';
import { evolveJob, JOB_PREFIX } from '../events/job.ts';
import type { Job } from '../events/job.ts';
import { jobFromRow } from '../queries/job-row.ts';
import type { JobRow } from '../queries/job-row.ts';
import type { ConsumedEvent } from '../subscriptions/consumer.ts';
import { withTotals } from './jobs/totals.ts';
import type { Projection } from './projection.ts';

/** One row a job, at the state its stream folds to, and one row a user: how many jobs are in which status. */
export const jobsProjection: Projection = {
  name: 'jobs',
  tables: ['jobs', 'job_totals'],
  readIndexes: ['jobs_by_user', 'jobs_by_user_status'],
  prefixes: [JOB_PREFIX],
  apply,
};

async function apply(events: readonly ConsumedEvent[], tx: Queryable): Promise<readonly Statement[]> {
  const created = new Set(
    events.filter(({ event }) => event.type === 'JobCreated').map(({ recorded }) => idOf(recorded)),
  );
  const seen = [...new Set(events.map(({ recorded }) => idOf(recorded)))];
  const known = await load(
    seen.filter((id) => !created.has(id)),
    tx,
  );
  const jobs = new Map<string, Job>();
  for (const { event, recorded } of events) {
    if (!isJobEvent(event)) continue;
    const id = idOf(recorded);
    const before = jobs.get(id) ?? known.get(id) ?? null;
    // Older never overwrites newer: an event the row has already is passed over.
    if (before !== null && recorded.revision <= before.revision) continue;
    const { occurredAt } = recorded.metadata;
    jobs.set(id, evolveJob(before, { event, occurredAt, revision: recorded.revision }));
  }
  const changed = [...jobs.values()];
  return [
    ...insert(changed.filter((job) => created.has(job.id))),
    ...update(
      changed.filter((job) => !created.has(job.id)),
      known,
    ),
  ];
}

const idOf = (recorded: { stream: string }): string => recorded.stream.slice(JOB_PREFIX.length);

/** The rows as jobs, without the payload, which no event after the first looks at. */
async function load(ids: readonly string[], tx: Queryable): Promise<Map<string, Job>> {
  if (ids.length === 0) return new Map();
  const { rows } = await tx.query<JobRow>(
    `SELECT id, user_id, type, '{}'::json AS payload, webhook_url, webhook_events, status, result, error, round,
            attempt, max_attempts, timeout_ms, due_at, execution_id, worker_id, heartbeat, takeovers, cancel_requested, created_at, updated_at, revision
     FROM jobs WHERE id = ANY($1::uuid[])`,
    [ids],
  );
  return new Map(rows.map((row) => [row.id, jobFromRow(row)]));
}

/** The columns that events after the first change, with their types and where a job has them. */
const changing = [
  ['status', 'text', (job: Job) => job.status],
  ['result', 'json', (job: Job) => (job.result === null ? null : JSON.stringify(job.result))],
  ['error', 'text', (job: Job) => job.error],
  ['round', 'integer', (job: Job) => job.round],
  ['attempt', 'integer', (job: Job) => job.attempt],
  ['max_attempts', 'integer', (job: Job) => job.maxAttempts],
  ['due_at', 'timestamptz', (job: Job) => job.dueAt],
  ['execution_id', 'uuid', (job: Job) => job.execution?.id ?? null],
  ['worker_id', 'text', (job: Job) => job.execution?.workerId ?? null],
  ['heartbeat', 'integer', (job: Job) => job.execution?.heartbeat ?? null],
  ['takeovers', 'integer', (job: Job) => job.takeovers],
  ['cancel_requested', 'boolean', (job: Job) => job.cancelRequested],
  ['updated_at', 'timestamptz', (job: Job) => job.updatedAt],
  ['revision', 'integer', (job: Job) => job.revision],
] as const;

const all = [
  ['id', 'uuid', (job: Job) => job.id],
  ['user_id', 'text', (job: Job) => job.userId],
  ['type', 'text', (job: Job) => job.type],
  ['payload', 'json', (job: Job) => JSON.stringify(job.payload)],
  ['webhook_url', 'text', (job: Job) => job.webhookUrl],
  ['webhook_events', 'json', (job: Job) => JSON.stringify(job.webhookEvents)],
  ['timeout_ms', 'integer', (job: Job) => job.timeoutMs],
  ['created_at', 'timestamptz', (job: Job) => job.createdAt],
  ...changing,
] as const;

type Column = (typeof all)[number];
type NamedType = readonly [name: string, type: string, ...rest: unknown[]];

const names = (columns: readonly NamedType[]): string => columns.map(([name]) => name).join(', ');
const unnest = (columns: readonly NamedType[]): string =>
  `unnest(${columns.map(([, type], index) => `$${index + 1}::${type}[]`).join(', ')}) AS given (${names(columns)})`;
const values = (columns: readonly Column[], jobs: readonly Job[]): unknown[] =>
  columns.map(([, , valueOf]) => jobs.map((job) => valueOf(job)));

/**
 * A row that is there already came from the same stream: a replay over it brings it up to date, never back. Every part of a statement
 * sees the table as it was before: `former` are the rows that are written over.
 */
const INSERT = withTotals(
  `entered AS (
     INSERT INTO jobs (${names(all)}) SELECT ${names(all)} FROM ${unnest(all)}
     ON CONFLICT (id) DO UPDATE SET ${changing.map(([name]) => `${name} = excluded.${name}`).join(', ')}
     WHERE jobs.revision < excluded.revision RETURNING id, user_id, status
   ),
   left_behind AS (SELECT former.user_id, former.status FROM entered JOIN jobs former USING (id))`,
);

function insert(jobs: readonly Job[]): Statement[] {
  return jobs.length === 0 ? [] : [{ sql: INSERT, values: values(all, jobs) }];
}

const updated: readonly Column[] = [['id', 'uuid', (job: Job) => job.id], ...changing];
const UPDATE = withTotals(
  `changed AS (
     UPDATE jobs SET ${changing.map(([name]) => `${name} = given.${name}`).join(', ')}
     FROM ${unnest([...updated, ['former_status', 'text']])}
     WHERE jobs.id = given.id AND jobs.revision < given.revision RETURNING user_id, jobs.status, former_status
   ),
   entered AS (SELECT user_id, status FROM changed WHERE status <> former_status),
   left_behind AS (SELECT user_id, former_status AS status FROM changed WHERE status <> former_status)`,
);

/** @param known the jobs as their rows are */
function update(jobs: readonly Job[], known: ReadonlyMap<string, Job>): Statement[] {
  if (jobs.length === 0) return [];
  return [{ sql: UPDATE, values: [...values(updated, jobs), jobs.map(({ id }) => known.get(id)?.status)] }];
}
