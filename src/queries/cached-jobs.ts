import type { JobCache } from '../cache.ts';
import type { HandleJobCommand } from '../commands/handle-command.ts';
import { errorMessage } from '../errors.ts';
import { decodeEvent, isJobEvent } from '../events/codec.ts';
import type { RecordedEvent } from '../events/event-store.ts';
import { evolveJob, isTerminal, JOB_PREFIX } from '../events/job.ts';
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
  /** Brings the entries of these jobs up to date. Never rejects. */
  observe(events: readonly RecordedEvent[]): Promise<void>;
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

/** A read under way whose answer is to be cached, with the newest revision heard of meanwhile. */
interface Fill {
  newest: number;
}

/**
 * Jobs by way of a cache that is never older than what this process has written or shown to be written, and at most a second
 * behind the others. docs/adr/0007-cache.md goes through the ways it could be.
 */
export function createCachedJobs({ jobs, cache, logger }: CachedJobsOptions): CachedJobs {
  const fills = new Map<string, Set<Fill>>();
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

  async function put(job: Job): Promise<void> {
    await guarded(() => cache.put(job, isTerminal(job.status) ? ENDED_TTL_MS : TTL_MS));
  }

  /** No read that began before this may bring an older state into the cache. */
  function hear(jobId: string, revision: number): void {
    for (const fill of fills.get(jobId) ?? []) fill.newest = Math.max(fill.newest, revision);
  }

  function beginFill(jobId: string): { fill: Fill; end: () => void } {
    const fill: Fill = { newest: -1 };
    const under = fills.get(jobId) ?? new Set();
    fills.set(jobId, under.add(fill));
    const end = (): void => {
      under.delete(fill);
      if (under.size === 0) fills.delete(jobId);
    };
    return { fill, end };
  }

  async function find(jobId: string, userId: string, minRevision = 0): Promise<FoundJob | null> {
    const kept = isTrusted() ? await guarded(() => cache.get(jobId)) : null;
    if (kept !== null && kept.revision >= minRevision) {
      return kept.userId === userId ? { job: kept, cached: true } : null;
    }
    const { fill, end } = beginFill(jobId);
    try {
      const job = await jobs.get(jobId, userId, minRevision);
      if (job === null) return null;
      if (job.revision >= fill.newest) await put(job);
      return { job, cached: false };
    } finally {
      end();
    }
  }

  async function remember(job: Job, written: boolean): Promise<void> {
    hear(job.id, job.revision);
    if (!written) {
      // Where nothing was written the state is as the command found it, perhaps not the newest: it may replace an older one only.
      const kept = await guarded(() => cache.get(job.id));
      if (kept === null || kept.revision >= job.revision) return;
    }
    await put(job);
  }

  async function observeOne(recorded: RecordedEvent): Promise<void> {
    const jobId = recorded.stream.slice(JOB_PREFIX.length);
    hear(jobId, recorded.revision);
    const kept = await guarded(() => cache.get(jobId));
    if (kept === null || recorded.revision <= kept.revision) return;
    const next = nextState(kept, recorded);
    if (next !== null) await put(next);
    else await guarded(() => cache.drop(jobId));
  }

  return {
    jobs: { ...jobs, find, get: async (...args) => (await find(...args))?.job ?? null },
    remembering:
      (handle) =>
      async (...args) => {
        const outcome = await handle(...args);
        await remember(outcome.job, outcome.events.length > 0);
        return outcome;
      },
    async observe(events) {
      for (const recorded of events) await observeOne(recorded);
    },
    confirm(at) {
      confirmedAt = Math.max(confirmedAt, at);
    },
  };
}

/** The state after one more event; null when it is not the next one, or cannot be read. */
function nextState(job: Job, recorded: RecordedEvent): Job | null {
  if (recorded.revision !== job.revision + 1) return null;
  try {
    const event = decodeEvent(recorded);
    if (!isJobEvent(event)) return null;
    return evolveJob(job, { event, occurredAt: recorded.metadata.occurredAt, revision: recorded.revision });
  } catch {
    return null;
  }
}
