import { AppError } from '../errors.ts';
import { isTerminal } from '../events/job.ts';
import { isDeeperThan, MAX_JSON_DEPTH, toPlainText } from '../events/json.ts';
import type { Job, JobEnd, JobEvent, JobStatus, Json } from '../events/job.ts';

/** Takeovers from dead workers an attempt survives; the next one counts it as failed. */
export const MAX_TAKEOVERS = 3;
/** Bytes of a result as UTF-8 JSON. */
export const MAX_RESULT_BYTES = 262_144;
/** Bytes of an error or reason as UTF-8; a longer one is cut. */
export const MAX_ERROR_BYTES = 8_192;

/** Everything that can be asked of a job. Ids and times come in as data. */
export type JobCommand =
  | {
      readonly type: 'CreateJob';
      readonly jobId: string;
      readonly userId: string;
      readonly jobType: string;
      readonly payload: Readonly<Record<string, Json>>;
      readonly webhookUrl: string | null;
      readonly webhookEvents: readonly JobEnd[];
      readonly maxAttempts: number | null;
      readonly timeoutMs: number | null;
      readonly runAt: string | null;
      /** SHA-256 of the request in hex, when `jobId` follows from an Idempotency-Key; null without one. */
      readonly requestHash: string | null;
    }
  | {
      readonly type: 'StartJob';
      readonly round: number;
      readonly attempt: number;
      readonly executionId: string;
      readonly workerId: string;
      readonly heartbeat: number;
      /** The execution proved dead, when the job is still PROCESSING. */
      readonly supersedes: string | null;
      /** Used when the submission named none. */
      readonly defaultMaxAttempts: number;
      /** What the handler allows, whatever the submission asked for; not given: any number. */
      readonly mostAttempts?: number;
      readonly backoffMs: number;
    }
  | { readonly type: 'CompleteJob'; readonly executionId: string; readonly result: Json }
  | {
      readonly type: 'FailAttempt';
      readonly executionId: string;
      readonly error: string;
      readonly retryable: boolean;
      readonly backoffMs: number;
    }
  | { readonly type: 'ReleaseJob'; readonly executionId: string; readonly reason: string }
  /** `userId` is the owner as the caller claims; `force` also reaches a running job. */
  | {
      readonly type: 'CancelJob';
      readonly userId: string;
      readonly force: boolean;
      readonly ifRevisions?: IfRevisions;
    }
  | { readonly type: 'FinishCancel'; readonly round: number }
  | { readonly type: 'RetryJob'; readonly userId: string; readonly ifRevisions?: IfRevisions };

/** The revisions of the job that the command was meant for; null or none: any. */
export type IfRevisions = readonly number[] | null;

export class JobNotFoundError extends AppError {
  constructor() {
    super('JOB_NOT_FOUND', 'Job not found');
  }
}

export class JobExistsError extends AppError {
  constructor(jobId: string) {
    super('JOB_EXISTS', `Job ${jobId} exists already`, { jobId });
  }
}

/** The Idempotency-Key stands for a job that another request has made. */
export class IdempotencyKeyReusedError extends AppError {
  constructor(jobId: string) {
    super('IDEMPOTENCY_KEY_REUSED', 'This Idempotency-Key was used for another request already', { jobId });
  }
}

/** The job is not at a revision that the command was meant for. */
export class JobMovedOnError extends AppError {
  constructor({ revision }: Job) {
    super('JOB_MOVED_ON', `The job has moved on: it is at revision ${revision}`, { revision });
  }
}

export class JobNotCancellableError extends AppError {
  constructor(status: JobStatus, force: boolean) {
    const which = force ? 'PENDING and PROCESSING' : 'PENDING';
    super(
      'JOB_NOT_CANCELLABLE',
      `Cannot cancel job with status ${status}. Only ${which} jobs can be cancelled.`,
      {
        status,
      },
    );
  }
}

export class JobNotRetryableError extends AppError {
  constructor(status: JobStatus) {
    super(
      'JOB_NOT_RETRYABLE',
      `Cannot retry job with status ${status}. Only FAILED and CANCELLED jobs can be retried.`,
      { status },
    );
  }
}

/** A queue entry names a round and attempt that is not the job's next: it is an old or double entry. */
export class StaleEntryError extends AppError {
  constructor(job: Job, round: number, attempt: number) {
    super('STALE_ENTRY', `Round ${round} attempt ${attempt} is not what job ${job.id} waits for`, {
      status: job.status,
      round: job.round,
      attempt: job.attempt,
    });
  }
}

export class JobNotDueError extends AppError {
  readonly dueAt: string;

  constructor(dueAt: string) {
    super('JOB_NOT_DUE', `The job is not due before ${dueAt}`, { dueAt });
    this.dueAt = dueAt;
  }
}

/** The job is PROCESSING in an execution that the start did not prove dead. */
export class JobAlreadyRunningError extends AppError {
  constructor(executionId: string) {
    super('JOB_ALREADY_RUNNING', `The job runs in execution ${executionId}`, { executionId });
  }
}

/** The execution that reports is not the job's current one: it was replaced, released or ended. */
export class StaleExecutionError extends AppError {
  constructor(executionId: string) {
    super('STALE_EXECUTION', `Execution ${executionId} is not the job's current one`, { executionId });
  }
}

export class ResultTooLargeError extends AppError {
  constructor(bytes: number) {
    super('RESULT_TOO_LARGE', `The result of ${bytes} bytes exceeds the limit of ${MAX_RESULT_BYTES}`, {
      bytes,
    });
  }
}

/** A payload or result is nested deeper than can be stored and read again for sure. */
export class TooDeeplyNestedError extends AppError {
  constructor(what: 'payload' | 'result') {
    super('TOO_DEEPLY_NESTED', `The ${what} has more than ${MAX_JSON_DEPTH} levels of arrays and objects`, {
      limit: MAX_JSON_DEPTH,
    });
  }
}

/**
 * What a command does to a job. Pure: the same state, command and time give the same events. An empty answer means
 * that what was asked for is already so.
 * @param job the state the stream folds to, null when there is none
 * @param now ISO 8601, UTC
 * @throws one of the errors above; nothing is to be written then
 */
export function decideJob(job: Job | null, command: JobCommand, now: string): JobEvent[] {
  if (command.type === 'CreateJob') {
    if (job !== null) throw new JobExistsError(job.id);
    if (isDeeperThan(command.payload, MAX_JSON_DEPTH)) throw new TooDeeplyNestedError('payload');
    const { jobType, webhookEvents, ...rest } = command;
    const data = { ...rest, type: jobType, webhookEvents: [...webhookEvents] };
    return [{ type: 'JobCreated', data }];
  }
  if (job === null) throw new JobNotFoundError();
  switch (command.type) {
    case 'StartJob':
      return start(job, command, now);
    case 'CompleteJob': {
      const current = currentExecution(job, command.executionId);
      if (job.cancelRequested) return [cancelled(job)];
      if (isDeeperThan(command.result, MAX_JSON_DEPTH)) throw new TooDeeplyNestedError('result');
      const bytes = Buffer.byteLength(JSON.stringify(command.result));
      if (bytes > MAX_RESULT_BYTES) throw new ResultTooLargeError(bytes);
      return [
        { type: 'JobCompleted', data: { ...current, result: command.result, webhook: tellsOf(job, 'DONE') } },
      ];
    }
    case 'FailAttempt':
      currentExecution(job, command.executionId);
      return failAttempt(job, command.executionId, command, now);
    case 'ReleaseJob': {
      const current = currentExecution(job, command.executionId);
      if (job.cancelRequested) return [cancelled(job)];
      return [{ type: 'JobReleased', data: { ...current, reason: cut(command.reason) } }];
    }
    case 'CancelJob':
      assertAddressed(job, command);
      return cancel(job, command.force);
    case 'FinishCancel':
      return job.cancelRequested && job.round === command.round ? [cancelled(job)] : [];
    case 'RetryJob':
      assertAddressed(job, command);
      if (job.status !== 'FAILED' && job.status !== 'CANCELLED') throw new JobNotRetryableError(job.status);
      return [{ type: 'JobRetried', data: { round: job.round + 1 } }];
    default:
      return command satisfies never;
  }
}

function start(job: Job, command: Extract<JobCommand, { type: 'StartJob' }>, now: string): JobEvent[] {
  const { round, attempt, executionId, workerId, heartbeat, supersedes } = command;
  if (isTerminal(job.status) || round !== job.round || attempt !== job.attempt) {
    throw new StaleEntryError(job, round, attempt);
  }
  if (job.execution !== null) {
    // Our own start whose answer was lost: nothing left to do.
    if (job.execution.id === executionId) return [];
    if (job.execution.id !== supersedes) throw new JobAlreadyRunningError(job.execution.id);
    if (job.cancelRequested) return [cancelled(job)];
    if (job.takeovers >= MAX_TAKEOVERS) {
      const error = `The worker died while running the job, ${MAX_TAKEOVERS + 1} times in one attempt`;
      return failAttempt(
        job,
        job.execution.id,
        { error, retryable: true, backoffMs: command.backoffMs },
        now,
      );
    }
  } else if (job.dueAt !== null && Date.parse(job.dueAt) > Date.parse(now)) {
    throw new JobNotDueError(job.dueAt);
  }
  const data = {
    type: job.type,
    round,
    attempt,
    executionId,
    workerId,
    heartbeat,
    supersedes: job.execution === null ? null : supersedes,
    maxAttempts: attemptsOf(job, command),
  };
  return [{ type: 'JobStarted', data }];
}

/** Never below the attempt that starts: a handler may have come to allow fewer since the one before. */
function attemptsOf(
  job: Job,
  { attempt, defaultMaxAttempts, mostAttempts }: Extract<JobCommand, { type: 'StartJob' }>,
): number {
  const wanted = job.maxAttempts ?? defaultMaxAttempts;
  return Math.max(attempt, Math.min(wanted, mostAttempts ?? wanted));
}

function failAttempt(
  job: Job,
  executionId: string,
  failure: { error: string; retryable: boolean; backoffMs: number },
  now: string,
): JobEvent[] {
  if (job.cancelRequested) return [cancelled(job)];
  const { round, attempt } = job;
  const { retryable } = failure;
  const error = cut(failure.error);
  if (retryable && attempt < (job.maxAttempts ?? 1)) {
    const retryAt = new Date(Date.parse(now) + backoff(failure.backoffMs, attempt)).toISOString();
    return [{ type: 'JobAttemptFailed', data: { round, attempt, executionId, error, retryAt } }];
  }
  const reason = retryable ? 'attempts-exhausted' : 'not-retryable';
  return [
    {
      type: 'JobFailed',
      data: { round, attempt, executionId, error, reason, webhook: tellsOf(job, 'FAILED') },
    },
  ];
}

/** An error as it can be stored, however long or odd the one that was thrown is: the attempt has to end either way. */
function cut(text: string): string {
  const plain = toPlainText(text);
  if (Buffer.byteLength(plain) <= MAX_ERROR_BYTES) return plain;
  const beginning = Buffer.from(plain)
    .subarray(0, MAX_ERROR_BYTES - Buffer.byteLength('…'))
    .toString();
  return `${beginning.replace(/\uFFFD+$/, '')}…`;
}

/** Longest wait between two attempts: one hour. */
const MAX_BACKOFF_MS = 3_600_000;

/** Exponential: the base after the first attempt, then twice the wait before, at most an hour. */
export function backoff(baseMs: number, attempt: number): number {
  return Math.min(baseMs * 2 ** Math.min(attempt - 1, 30), MAX_BACKOFF_MS);
}

/** A stranger learns nothing of the job, not even that it has moved on. */
function assertAddressed(
  job: Job,
  { userId, ifRevisions }: { userId: string; ifRevisions?: IfRevisions },
): void {
  if (job.userId !== userId) throw new JobNotFoundError();
  if (ifRevisions && !ifRevisions.includes(job.revision)) throw new JobMovedOnError(job);
}

function cancel(job: Job, force: boolean): JobEvent[] {
  if (job.status === 'PENDING') return [cancelled(job)];
  if (job.execution === null || !force) throw new JobNotCancellableError(job.status, force);
  if (job.cancelRequested) return [];
  return [{ type: 'JobCancelRequested', data: { round: job.round, executionId: job.execution.id } }];
}

function tellsOf(job: Job, end: JobEnd): boolean {
  return job.webhookUrl !== null && job.webhookEvents.includes(end);
}

function cancelled(job: Job): JobEvent {
  return {
    type: 'JobCancelled',
    data: { round: job.round, attempt: job.attempt, webhook: tellsOf(job, 'CANCELLED') },
  };
}

function currentExecution(
  job: Job,
  executionId: string,
): { round: number; attempt: number; executionId: string } {
  if (job.execution?.id !== executionId) throw new StaleExecutionError(executionId);
  return { round: job.round, attempt: job.attempt, executionId };
}
