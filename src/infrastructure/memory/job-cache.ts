import { LRUCache } from 'lru-cache';
import type { JobCache } from '../../cache.ts';
import type { Job, Json } from '../../events/job.ts';

export interface MemoryJobCacheOptions {
  /** Most entries; default 10,000. */
  readonly maxEntries?: number;
  /** Most bytes of all entries together, measured as JSON; default 32 MiB. An entry above it is not kept. */
  readonly maxBytes?: number;
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
  const entries = new LRUCache<string, Job>({
    max: maxEntries,
    maxSize: maxBytes,
    sizeCalculation: ({ payload, result }) => FIXED_BYTES + bytesOf(payload) + bytesOf(result),
  });

  return {
    doubtedUntil: Number.NEGATIVE_INFINITY,
    get: (jobId) => Promise.resolve(entries.get(jobId) ?? null),
    put(job, ttlMs) {
      // One that is too large is not kept, and the older one goes all the same.
      if ((entries.peek(job.id)?.revision ?? -1) <= job.revision) entries.set(job.id, job, { ttl: ttlMs });
      return Promise.resolve();
    },
    drop(jobId) {
      entries.delete(jobId);
      return Promise.resolve();
    },
  };
}

function jsonBytes(value: Job['payload'] | Json): number {
  return Buffer.byteLength(JSON.stringify(value));
}
