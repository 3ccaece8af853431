import type { JobCache } from '../../cache.ts';
import { errorMessage } from '../../errors.ts';
import type { Job } from '../../events/job.ts';
import type { Logger } from '../../logger.ts';
import { soon } from './connect.ts';
import type { RedisConnections } from './connect.ts';

export interface RedisJobCacheOptions {
  readonly redis: RedisConnections;
  readonly logger: Logger;
  /** Most bytes of one state; a larger one is not kept. Default: 65,536. */
  readonly maxBytes?: number;
  /** How long the cache is in doubt after writes may have been lost, in milliseconds. Default: 60,000. */
  readonly doubtMs?: number;
}

/** Raise it when a field of a job comes to mean something else: processes of two versions may share a Redis for a while. */
const FORMAT = 1;
const keyOf = (jobId: string): string => `asyncly:job:${FORMAT}:${jobId}`;

/** Every field of a job: an entry that lacks one was written by a version that did not know it. */
const fields = Object.keys({
  id: 0,
  userId: 0,
  type: 0,
  payload: 0,
  webhookUrl: 0,
  webhookEvents: 0,
  status: 0,
  result: 0,
  error: 0,
  round: 0,
  attempt: 0,
  maxAttempts: 0,
  timeoutMs: 0,
  dueAt: 0,
  execution: 0,
  takeovers: 0,
  cancelRequested: 0,
  createdAt: 0,
  updatedAt: 0,
  revision: 0,
} satisfies Record<keyof Job, 0>);

/** Arguments: revision, state as JSON or nothing when it is too large, time to live. Microseconds are exact below 2^53. */
const PUT = `
local kept = redis.call('HGET', KEYS[1], 'revision')
if kept and tonumber(kept) > tonumber(ARGV[1]) then return 0 end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'job', ARGV[2], 'storedAt', now)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`;

/** Argument: revision. The entry keeps its time to live. */
const OUTDATE = `
local kept = redis.call('HGET', KEYS[1], 'revision')
if kept and tonumber(kept) < tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'job', '') end
return 1`;

/**
 * The job cache in Redis, which all processes share. Nothing here rejects or waits for long: while Redis is away there are no entries. A write of
 * ours that it missed leaves an older entry behind, and a Redis that was restarted from what it had saved may have forgotten
 * anyone's. So entries from before the present connection are never read, and for a while the cache is in doubt: a read by
 * another process, under way during the outage, may still bring an older state.
 */
export function createRedisJobCache(options: RedisJobCacheOptions): JobCache {
  const { redis, logger, maxBytes = 65_536, doubtMs = 60_000 } = options;
  const { shared } = redis;
  let doubtedUntil = Number.NEGATIVE_INFINITY;
  /** When the present connection began, by the clock of Redis. */
  let begun: Promise<number> | null = null;

  function lose(reason: string): void {
    const isNews = performance.now() >= doubtedUntil;
    doubtedUntil = performance.now() + doubtMs;
    begun = null;
    // That Redis is away is told elsewhere.
    logger[isNews && shared.status === 'ready' ? 'warn' : 'debug'](
      { reason },
      'The job cache fails; reading without it',
    );
  }
  shared.on('close', () => lose('the connection was closed'));

  async function attempt<T>(use: (begunAt: number) => Promise<T>): Promise<T | null> {
    const connection = (begun ??= serverTime());
    try {
      const answer = await soon(connection.then(use));
      return connection === begun ? answer : null;
    } catch (error) {
      lose(errorMessage(error));
      return null;
    }
  }

  async function serverTime(): Promise<number> {
    const [seconds, microseconds] = await shared.time();
    return Number(seconds) * 1_000_000 + Number(microseconds);
  }

  return {
    get doubtedUntil() {
      return doubtedUntil;
    },
    get: (jobId) =>
      attempt(async (begunAt) => {
        const [storedAt, text] = await shared.hmget(keyOf(jobId), 'storedAt', 'job');
        return text && Number(storedAt) >= begunAt ? decode(text) : null;
      }),
    async put(job, ttlMs) {
      const text = JSON.stringify(job);
      const kept = Buffer.byteLength(text) > maxBytes ? '' : text;
      await attempt(() => shared.eval(PUT, 1, keyOf(job.id), job.revision, kept, Math.ceil(ttlMs)));
    },
    async outdate(jobId, revision) {
      await attempt(() => shared.eval(OUTDATE, 1, keyOf(jobId), revision));
    },
  };
}

function decode(text: string): Job | null {
  const job: unknown = JSON.parse(text);
  const isWhole = typeof job === 'object' && job !== null && fields.every((field) => field in job);
  return isWhole ? (job as Job) : null;
}
