import type { Job, JobEnd, JobStatus, Json } from '../events/job.ts';

/** A row of the `jobs` read model as `Queryable` hands it out; `migrations/0002_read_models.sql` has its constraints. */
export interface JobRow {
  readonly id: string;
  readonly user_id: string;
  readonly type: string;
  readonly payload: Readonly<Record<string, Json>>;
  readonly webhook_url: string | null;
  readonly webhook_events: readonly JobEnd[];
  readonly status: JobStatus;
  readonly result: Json;
  readonly error: string | null;
  readonly round: number;
  readonly attempt: number;
  readonly max_attempts: number | null;
  readonly timeout_ms: number | null;
  readonly due_at: Date | null;
  readonly execution_id: string | null;
  readonly worker_id: string | null;
  readonly heartbeat: number | null;
  readonly takeovers: number;
  readonly cancel_requested: boolean;
  readonly created_at: Date;
  readonly updated_at: Date;
  readonly revision: number;
}

/** Every column that {@link jobFromRow} reads, for a SELECT. */
export const JOB_COLUMNS = `id, user_id, type, payload, webhook_url, webhook_events, status, result, error, round, attempt,
  max_attempts, timeout_ms, due_at, execution_id, worker_id, heartbeat, takeovers, cancel_requested, created_at, updated_at, revision`;

/** The job a row stands for: the same value that folding its stream up to `revision` gives. */
export function jobFromRow(row: JobRow): Job {
  return {
    id: row.id,
    userId: row.user_id,
    type: row.type,
    payload: row.payload,
    webhookUrl: row.webhook_url,
    webhookEvents: row.webhook_events,
    status: row.status,
    result: row.result,
    error: row.error,
    round: row.round,
    attempt: row.attempt,
    maxAttempts: row.max_attempts,
    timeoutMs: row.timeout_ms,
    dueAt: row.due_at?.toISOString() ?? null,
    execution: executionFromRow(row),
    takeovers: row.takeovers,
    cancelRequested: row.cancel_requested,
    createdAt: row.created_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
    revision: row.revision,
  };
}

function executionFromRow({ execution_id: id, worker_id: workerId, heartbeat }: JobRow): Job['execution'] {
  return id === null || workerId === null || heartbeat === null ? null : { id, workerId, heartbeat };
}
