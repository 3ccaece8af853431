import type { JobEvent } from '../../events/job.ts';

/** What the next event of a job is counted with. Times are milliseconds since the epoch. */
export interface CountedJob {
  readonly userId: string;
  readonly type: string;
  /** PENDING: since when it could have run. */
  readonly dueAt: number | null;
  /** PROCESSING: when the execution under way began. */
  readonly startedAt: number | null;
}

export const COUNTS = ['created', 'done', 'failed', 'cancelled', 'retried'] as const;
export type Count = (typeof COUNTS)[number];

/** What one event adds to the figures of its day, and what is left to count with. */
export interface Tally {
  readonly job: CountedJob;
  readonly count?: Count;
  /** How long the job stood PENDING although it could have run; milliseconds, never negative. */
  readonly waitMs?: number;
  /** How long the execution took that has come to its own end; milliseconds, never negative. */
  readonly runMs?: number;
}

/**
 * Counts one event of a job. Pure.
 *
 * A wait is counted at each start out of PENDING: from when the job could have run (created, or `runAt`; the time of its next attempt;
 * handed back; submitted again) to that start. A run is counted when an execution ends by itself: completed, or failed. One that
 * was cut off says nothing of how long the work takes: cancelled, handed back by a worker that stops, or taken over.
 * @param job what was left after the event before, null before the first
 * @param at when it occurred
 * @throws Error when a stream does not begin with JobCreated
 */
export function tallyEvent(job: CountedJob | null, event: JobEvent, at: number): Tally {
  if (event.type === 'JobCreated') {
    const { userId, type, runAt } = event.data;
    return { job: { userId, type, ...dueFrom(at, runAt) }, count: 'created' };
  }
  if (job === null) throw new Error(`${event.type} of a job that was never created, or is DONE`);
  switch (event.type) {
    case 'JobStarted': {
      const started = { ...job, dueAt: null, startedAt: at };
      // One that takes over from a dead worker ends no wait.
      return job.dueAt === null ? { job: started } : { job: started, waitMs: between(job.dueAt, at) };
    }
    case 'JobReleased':
      return { job: { ...job, ...dueFrom(at) } };
    case 'JobAttemptFailed':
      return { job: { ...job, ...dueFrom(at, event.data.retryAt) }, ...run(job, at) };
    case 'JobCompleted':
      return { job: ended(job), count: 'done', ...run(job, at) };
    case 'JobFailed':
      return { job: ended(job), count: 'failed', ...run(job, at) };
    case 'JobCancelRequested':
      return { job };
    case 'JobCancelled':
      return { job: ended(job), count: 'cancelled' };
    case 'JobRetried':
      return { job: { ...job, ...dueFrom(at) }, count: 'retried' };
    default:
      return event satisfies never;
  }
}

function dueFrom(at: number, notBefore: string | null = null): Pick<CountedJob, 'dueAt' | 'startedAt'> {
  return { dueAt: notBefore === null ? at : Math.max(at, Date.parse(notBefore)), startedAt: null };
}

const ended = (job: CountedJob): CountedJob => ({ ...job, dueAt: null, startedAt: null });

function run({ startedAt }: CountedJob, at: number): Pick<Tally, 'runMs'> {
  return startedAt === null ? {} : { runMs: between(startedAt, at) };
}

/** The clocks of two machines may disagree. */
const between = (from: number, to: number): number => Math.max(0, to - from);
