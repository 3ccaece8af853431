import { LRUCache } from 'lru-cache';
import type { JobCache } from '../cache.ts';
import type { HandleJobCommand } from '../commands/handle-command.ts';
import { errorMessage } from '../errors.ts';
import type { RecordedEvent } from '../events/event-store.ts';
import { isTerminal, JOB_PREFIX } from '../events/job.ts';
import type { Job } from '../events/job.ts';
import type { Logger } from '../logger.ts';
import type { JobQueries } from './jobs.ts';

export interface FoundJob {
  readonly job: Job;
  /** Whether the cache had it. */
  readonly cached: boolean;
}

export interface CachedJobQueries extends JobQueries {
  /** As `get`, and says where the job came from. */
  find(jobId: string, userId: string, minRevision?: number): Promise<FoundJob | null>;
}

/** What a follower of the event store tells the cache. */
export interface CacheSink {
  /** From now on nothing older than these events is served of their jobs. Events of other streams are passed over. */
  observe(events: readonly RecordedEvent[]): void;
  /** Everything written before `at`, by the clock of `performance.now()`, has been observed. */
  confirm(at: number): void;
}

export interface CachedJobs extends CacheSink {
  readonly jobs: CachedJobQueries;
  /** The same commands; when one is answered, the cache is as new as the answer. */
  remembering(handle: HandleJobCommand): HandleJobCommand;
}

export interface CachedJobsOptions {
  readonly jobs: JobQueries;
  readonly cache: JobCache;
  readonly logger: Logger;
}

/** How long an entry is good for. */
const TTL_MS = 60_000;
const ENDED_TTL_MS = 300_000;
/** How far other processes' writes may be ahead of what is served. Unconfirmed for longer, the cache is passed by. */
const MAX_STALENESS_MS = 1_000;
/** After a failure of the cache an entry may have missed a write: until the last such entry has expired, none is used. */
const DISTRUST_MS = ENDED_TTL_MS;

/** Jobs that this process remembers to have heard of, the last ones. */
const MAX_KNOWN = 100_000;

/** What this process knows of a job. */
interface Known {
  /** The newest revision it has heard of. */
  readonly revision: number;
  /** Whether it has put that state, so that an entry may lie in the cache. */
  readonly held: boolean;
}

/**
 * Jobs by way of a cache that is never older than what this process has written or shown to be written, and at most a second
 * behind the others. docs/adr/0007-cache.md goes through the ways it could be.
 */
export function createCachedJobs({ jobs, cache, logger }: CachedJobsOptions): CachedJobs {
  const known = new LRUCache<string, Known>({ max: MAX_KNOWN });
  let confirmedAt = Number.NEGATIVE_INFINITY;
  let distrustedUntil = Number.NEGATIVE_INFINITY;

  function isTrusted(): boolean {
    const now = performance.now();
    return now - confirmedAt <= MAX_STALENESS_MS && now >= Math.max(distrustedUntil, cache.doubtedUntil);
  }

  async function guarded<T>(use: () => Promise<T>): Promise<T | null> {
    try {
      return await use();
    } catch (error) {
      logger.warn({ reason: errorMessage(error) }, 'The job cache fails; reading without it');
      distrustedUntil = performance.now() + DISTRUST_MS;
      return null;
    }
  }

  const newestOf = (jobId: string): number => known.get(jobId)?.revision ?? -1;

  /** An entry of this process's own is let go with it. Those of others are theirs to let go, and meanwhile are not served here. */
  function hear(jobId: string, revision: number): void {
    const before = known.get(jobId);
    if (before !== undefined && before.revision >= revision) return;
    known.set(jobId, { revision, held: false });
    if (before?.held) void guarded(() => cache.outdate(jobId, revision));
  }

  /** What was read may be older than what was heard of meanwhile: that is not kept. */
  async function put(job: Job): Promise<void> {
    if (newestOf(job.id) > job.revision) return;
    known.set(job.id, { revision: job.revision, held: true });
    await guarded(() => cache.put(job, isTerminal(job.status) ? ENDED_TTL_MS : TTL_MS));
  }

  async function find(jobId: string, userId: string, minRevision = 0): Promise<FoundJob | null> {
    const kept = isTrusted() ? await guarded(() => cache.get(jobId)) : null;
    if (kept !== null && kept.revision >= Math.max(minRevision, newestOf(jobId))) {
      return kept.userId === userId ? { job: kept, cached: true } : null;
    }
    const job = await jobs.get(jobId, userId, minRevision);
    if (job === null) return null;
    await put(job);
    return { job, cached: false };
  }

  return {
    jobs: { ...jobs, find, get: async (...args) => (await find(...args))?.job ?? null },
    remembering: (handle) => async (jobId, command, context, before) => {
      const outcome = await handle(jobId, command, context, before);
      const { job, events } = outcome;
      // Of a job that has just been created no older state can be kept. Whoever else was promised to read what they wrote is a user.
      const isNew = job.revision < events.length;
      if (context.actor.kind === 'user' && !isNew) await put(job);
      else hear(job.id, job.revision);
      return outcome;
    },
    observe(events) {
      for (const { stream, revision } of events) {
        if (stream.startsWith(JOB_PREFIX)) hear(stream.slice(JOB_PREFIX.length), revision);
      }
    },
    confirm(at) {
      confirmedAt = Math.max(confirmedAt, at);
    },
  };
}
