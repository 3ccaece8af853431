import type { Job } from './events/job.ts';

/**
 * States of jobs that were read or written lately. It may lose any entry at any time, and knows nothing of who may see
 * what. What is current is for those to say who read and write it: see `queries/cached-jobs.ts`.
 */
export interface JobCache {
  /** Until then, by the clock of `performance.now()`, what `get` gives may have missed a write. It moves on while writes are lost. */
  readonly doubtedUntil: number;
  /** The state kept of a job; null when there is none, or its time is up. */
  get(jobId: string): Promise<Job | null>;
  /**
   * Keeps a state for `ttlMs` milliseconds from now, unless a newer revision of the job is kept already. When this resolves, no
   * `get` anywhere gives an older one, or this process doubts the cache.
   */
  put(job: Job, ttlMs: number): Promise<void>;
  /** The job has got to this revision: an older state that is kept is let go, and none is taken in its place. */
  outdate(jobId: string, revision: number): Promise<void>;
}
