import { expect } from 'vitest';
import { decideJob } from '../../src/commands/job-decider.ts';
import type { JobCommand } from '../../src/commands/job-decider.ts';
import type { AppError } from '../../src/errors.ts';
import { evolveJob } from '../../src/events/job.ts';
import type { Job, JobEvent } from '../../src/events/job.ts';

export const NOW = '2026-05-19T10:00:00.000Z';
export const JOB_ID = '0196e7d2-0000-7000-8000-000000000001';
export const USER = 'user-1';
/** Execution ids, one for each execution of a story. */
export const execution = (n: number): string =>
  `0196e7d2-0000-7000-8000-0000000001${String(n).padStart(2, '0')}`;

type DataOf<Type extends JobEvent['type']> = Extract<JobEvent, { type: Type }>['data'];
type CommandOf<Type extends JobCommand['type']> = Extract<JobCommand, { type: Type }>;

/** Events of one job with the usual values; name what matters to the test. */
export const events = {
  created: (data: Partial<DataOf<'JobCreated'>> = {}): JobEvent => ({
    type: 'JobCreated',
    data: {
      jobId: JOB_ID,
      userId: USER,
      type: 'send-email',
      payload: { to: 'a@example.com' },
      webhookUrl: null,
      webhookEvents: ['DONE', 'FAILED'],
      maxAttempts: null,
      timeoutMs: null,
      runAt: null,
      requestHash: null,
      ...data,
    },
  }),
  started: (n: number, data: Partial<DataOf<'JobStarted'>> = {}): JobEvent => ({
    type: 'JobStarted',
    data: {
      type: 'send-email',
      round: 1,
      attempt: 1,
      executionId: execution(n),
      workerId: 'worker-1',
      heartbeat: 7,
      supersedes: null,
      maxAttempts: 3,
      ...data,
    },
  }),
  released: (n: number, data: Partial<DataOf<'JobReleased'>> = {}): JobEvent => ({
    type: 'JobReleased',
    data: { round: 1, attempt: 1, executionId: execution(n), reason: 'The worker stops', ...data },
  }),
  attemptFailed: (n: number, data: Partial<DataOf<'JobAttemptFailed'>> = {}): JobEvent => ({
    type: 'JobAttemptFailed',
    data: {
      round: 1,
      attempt: 1,
      executionId: execution(n),
      error: 'boom',
      retryAt: '2026-05-19T10:00:01.000Z',
      ...data,
    },
  }),
  completed: (n: number, data: Partial<DataOf<'JobCompleted'>> = {}): JobEvent => ({
    type: 'JobCompleted',
    data: {
      round: 1,
      attempt: 1,
      executionId: execution(n),
      result: { sent: true },
      webhook: false,
      ...data,
    },
  }),
  failed: (n: number, data: Partial<DataOf<'JobFailed'>> = {}): JobEvent => ({
    type: 'JobFailed',
    data: {
      round: 1,
      attempt: 1,
      executionId: execution(n),
      error: 'boom',
      reason: 'not-retryable',
      webhook: false,
      ...data,
    },
  }),
  cancelRequested: (n: number, data: Partial<DataOf<'JobCancelRequested'>> = {}): JobEvent => ({
    type: 'JobCancelRequested',
    data: { round: 1, executionId: execution(n), ...data },
  }),
  cancelled: (data: Partial<DataOf<'JobCancelled'>> = {}): JobEvent => ({
    type: 'JobCancelled',
    data: { round: 1, attempt: 1, webhook: false, ...data },
  }),
  retried: (round: number): JobEvent => ({ type: 'JobRetried', data: { round } }),
};

/** Commands on the same job with the usual values. */
export const commands = {
  create: (data: Partial<CommandOf<'CreateJob'>> = {}): CommandOf<'CreateJob'> => ({
    type: 'CreateJob',
    jobId: JOB_ID,
    userId: USER,
    jobType: 'send-email',
    payload: { to: 'a@example.com' },
    webhookUrl: null,
    webhookEvents: ['DONE', 'FAILED'],
    maxAttempts: null,
    timeoutMs: null,
    runAt: null,
    requestHash: null,
    ...data,
  }),
  start: (n: number, data: Partial<CommandOf<'StartJob'>> = {}): CommandOf<'StartJob'> => ({
    type: 'StartJob',
    round: 1,
    attempt: 1,
    executionId: execution(n),
    workerId: 'worker-1',
    heartbeat: 7,
    supersedes: null,
    defaultMaxAttempts: 3,
    backoffMs: 1_000,
    ...data,
  }),
  complete: (n: number, data: Partial<CommandOf<'CompleteJob'>> = {}): CommandOf<'CompleteJob'> => ({
    type: 'CompleteJob',
    executionId: execution(n),
    result: { sent: true },
    ...data,
  }),
  fail: (n: number, data: Partial<CommandOf<'FailAttempt'>> = {}): CommandOf<'FailAttempt'> => ({
    type: 'FailAttempt',
    executionId: execution(n),
    error: 'boom',
    retryable: true,
    backoffMs: 1_000,
    ...data,
  }),
  release: (n: number, data: Partial<CommandOf<'ReleaseJob'>> = {}): CommandOf<'ReleaseJob'> => ({
    type: 'ReleaseJob',
    executionId: execution(n),
    reason: 'The worker stops',
    ...data,
  }),
  cancel: (data: Partial<CommandOf<'CancelJob'>> = {}): CommandOf<'CancelJob'> => ({
    type: 'CancelJob',
    userId: USER,
    force: false,
    ...data,
  }),
  finishCancel: (round = 1): CommandOf<'FinishCancel'> => ({ type: 'FinishCancel', round }),
  retry: (data: Partial<CommandOf<'RetryJob'>> = {}): CommandOf<'RetryJob'> => ({
    type: 'RetryJob',
    userId: USER,
    ...data,
  }),
};

/** The state that some events of one stream fold to. */
export function foldJob(history: readonly JobEvent[], occurredAt: string = NOW): Job | null {
  return history.reduce<Job | null>(
    (job, event, revision) => evolveJob(job, { event, occurredAt, revision }),
    null,
  );
}

interface Outcome {
  /** The command must give exactly these events; none means that it is so already. */
  then(...expected: JobEvent[]): void;
  /** The command must be refused with this error. */
  thenThrows(error: new (...args: never[]) => AppError, message?: string): void;
}

/** A test in three words: after some events, when a command comes (at `now`), then these events or that error. */
export function given(...history: JobEvent[]): { when(command: JobCommand, now?: string): Outcome } {
  return {
    when(command, now = NOW) {
      const decide = (): JobEvent[] => decideJob(foldJob(history), command, now);
      return {
        then: (...expected) => expect(decide()).toEqual(expected),
        thenThrows(error, message) {
          expect(decide).toThrow(error);
          if (message !== undefined) expect(decide).toThrow(message);
        },
      };
    },
  };
}
