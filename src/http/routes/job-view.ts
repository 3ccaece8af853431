import type { Job } from '../../events/job.ts';

/**
 * A job as clients see it: the fields of the documented contract, then ours.
 * - `error`: why it FAILED, or why its last attempt did
 * - `round`: counts from 1; a retry by the user begins the next
 * - `attempt`, `maxAttempts`: the attempt that runs, ran last or comes next, of how many (null until that is settled)
 * - `timeoutMs`: how long an attempt may take, if the submission said so
 * - `runAt`: when a PENDING job may start at the earliest; null means at once
 * - `cancelRequested`: a running job that will end CANCELLED
 */
export function jobView(job: Job): Record<string, unknown> {
  return {
    id: job.id,
    userId: job.userId,
    type: job.type,
    status: job.status,
    payload: job.payload,
    result: job.result,
    webhookUrl: job.webhookUrl,
    createdAt: job.createdAt,
    updatedAt: job.updatedAt,
    error: job.error,
    round: job.round,
    attempt: job.attempt,
    maxAttempts: job.maxAttempts,
    timeoutMs: job.timeoutMs,
    runAt: job.dueAt,
    cancelRequested: job.cancelRequested,
  };
}
