import { LRUCache } from 'lru-cache';
import type { JobCache } from '../../cache.ts';
import type { Job, Json } from '../../events/job.ts';

export interface MemoryJobCacheOptions {
  /** Most entries; default 10,000. */
  readonly maxEntries?: number;
  /** Most bytes of all entries together, measured as JSON; default 32 MiB. An entry above it is not kept. */
  readonly maxBytes?: number;
}

/** `job` is null where a newer revision is known than any state that was put. */
interface Entry {
  readonly revision: number;
  readonly job: Job | null;
}

/** All fields of a job but its payload and result. */
const FIXED_BYTES = 1_024;

/** A cache of this process, bounded by entries and bytes: what was used longest ago goes first. */
export function createMemoryJobCache(options: MemoryJobCacheOptions = {}): JobCache {
  const { maxEntries = 10_000, maxBytes = 33_554_432 } = options;
  // Payloads pass unchanged from one state of a job to the next: each is measured once.
  const measured = new WeakMap<object, number>();
  const bytesOf = (value: Job['payload'] | Json): number => {
    if (typeof value !== 'object' || value === null) return jsonBytes(value);
    const known = measured.get(value);
    if (known !== undefined) return known;
    const bytes = jsonBytes(value);
    measured.set(value, bytes);
    return bytes;
  };
  const entries = new LRUCache<string, Entry>({
    max: maxEntries,
    maxSize: maxBytes,
    sizeCalculation: ({ job }) =>
      FIXED_BYTES + (job === null ? 0 : bytesOf(job.payload) + bytesOf(job.result)),
  });

  return {
    doubtedUntil: Number.NEGATIVE_INFINITY,
    get: (jobId) => Promise.resolve(entries.get(jobId)?.job ?? null),
    put(job, ttlMs) {
      // One that is too large is not kept, and the older one goes all the same.
      if ((entries.peek(job.id)?.revision ?? -1) <= job.revision) {
        entries.set(job.id, { revision: job.revision, job }, { ttl: ttlMs });
      }
      return Promise.resolve();
    },
    outdate(jobId, revision) {
      const kept = entries.peek(jobId);
      if (kept && kept.revision < revision) {
        entries.set(jobId, { revision, job: null }, { ttl: entries.getRemainingTTL(jobId) });
      }
      return Promise.resolve();
    },
  };
}

function jsonBytes(value: Job['payload'] | Json): number {
  return Buffer.byteLength(JSON.stringify(value));
}
