import { MemoryStore } from 'express-rate-limit';
import type { IncrementResponse, Options, Store } from 'express-rate-limit';
import { RedisStore } from 'rate-limit-redis';
import type { RedisReply } from 'rate-limit-redis';
import { errorMessage } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { LateAnswerError, soon } from './connect.ts';
import type { RedisConnections } from './connect.ts';

/**
 * Counts requests in Redis, for all processes together. While Redis is away each process counts for itself: nobody is turned
 * away for that, and nobody is let through without limit. Nothing here rejects or waits for long.
 * @param name of the limiter; each counts its own keys
 */
export function createRedisRateLimitStore(options: {
  readonly redis: RedisConnections;
  readonly name: string;
  readonly logger: Logger;
}): Store {
  const { redis, name, logger } = options;
  const { shared } = redis;
  const local = new MemoryStore();
  let limits: Options | null = null;
  let remote: Promise<RedisStore> | null = null;

  /** It loads its scripts once, and would remember for ever that this failed: so it is made anew after each failure. */
  async function connect(): Promise<RedisStore> {
    const store = new RedisStore({
      prefix: `asyncly:rate:${name}:`,
      sendCommand: (command: string, ...args: string[]) =>
        shared.call(command, ...args) as Promise<RedisReply>,
    });
    if (limits !== null) await store.init(limits);
    return store;
  }

  async function attempt<T>(use: (store: RedisStore) => Promise<T>): Promise<T | null> {
    // At once, without an error made and thrown for each request of an outage.
    if (shared.status !== 'ready') return null;
    const current = (remote ??= connect());
    try {
      return await soon(current.then(use));
    } catch (error) {
      if (remote === current && !(error instanceof LateAnswerError)) remote = null;
      logger.debug({ limiter: name, reason: errorMessage(error) }, 'Counting requests in this process alone');
      return null;
    }
  }

  return {
    init(given) {
      limits = given;
      local.init(given);
    },
    async increment(key): Promise<IncrementResponse> {
      // Counted here in any case: who has used up a limit does not have it anew because Redis goes away. A copy, for the store counts
      // on in what it gives.
      const here = { ...(await local.increment(key)) };
      return (await attempt((store) => store.increment(key))) ?? here;
    },
    async decrement(key) {
      await local.decrement(key);
      await attempt((store) => store.decrement(key));
    },
    async resetKey(key) {
      await local.resetKey(key);
      await attempt((store) => store.resetKey(key));
    },
    shutdown: () => local.shutdown(),
  };
}
