import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { Store } from 'express-rate-limit';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openRedis } from '../../../src/infrastructure/redis/connect.ts';
import { createRedisRateLimitStore } from '../../../src/infrastructure/redis/redis-rate-limit-store.ts';
import { silentLogger } from '../../support/database.ts';
import { describeWithRedis, startRedisServer } from '../../support/redis-server.ts';
import type { RedisServer } from '../../support/redis-server.ts';
import { eventually } from '../../support/waiting.ts';
import { describeRateLimitStore, initialised } from './describe-rate-limit-store.ts';

/** The stores of one process. */
async function openStores(url: string) {
  const redis = await openRedis({ url, logger: silentLogger, waitMs: 200 });
  const stores: Store[] = [];
  return {
    create(name: string): Store {
      const store = createRedisRateLimitStore({ redis, name, logger: silentLogger });
      stores.push(store);
      return store;
    },
    async dispose(): Promise<void> {
      for (const store of stores) await store.shutdown?.();
      await redis.close();
    },
  };
}

describeWithRedis('with redis-server', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedisServer();
  });
  afterAll(() => server.dispose());

  describeRateLimitStore('Redis', () => openStores(server.url));

  describe('rate limit store in Redis, when Redis fails', () => {
    let own: RedisServer;
    let processes: Awaited<ReturnType<typeof openStores>>[];
    beforeEach(async () => {
      own = await startRedisServer();
      processes = await Promise.all([openStores(own.url), openStores(own.url)]);
      return async () => {
        await Promise.all(processes.map((stores) => stores.dispose()));
        await own.dispose();
      };
    });

    const hit = async (store: Store, key = 'key') => (await store.increment(key)).totalHits;
    const pair = (name = 'limiter') =>
      processes.map((stores) => initialised(stores.create(name))) as [Store, Store];

    /** Until two processes count together. */
    const together = ([here, there]: [Store, Store]) =>
      eventually(async () => {
        const key = randomUUID();
        await hit(here, key);
        return (await hit(there, key)) === 2;
      });

    it('counts for all processes together', async () => {
      const [here, there] = pair();
      expect([await hit(here), await hit(there), await hit(here)]).toEqual([1, 2, 3]);
    });

    it('goes on counting in each process while Redis is away, from where that one was, and together again afterwards', async () => {
      const [here, there] = pair();
      expect([await hit(here), await hit(here), await hit(there)]).toEqual([1, 2, 3]);
      await own.stop();
      expect([await hit(here), await hit(there)]).toEqual([3, 2]);
      await own.start();
      await together([here, there]);
    });

    it('turns nobody away for what comes after them, however many come together while Redis is away', async () => {
      const [here] = pair();
      await own.stop();
      const hits = await Promise.all(Array.from({ length: 20 }, () => setImmediate().then(() => hit(here))));
      expect(hits.sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, n) => n + 1));
    });

    it('works from the start without Redis, and with it as soon as it is there', async () => {
      await own.stop();
      const [here, there] = pair();
      expect([await hit(here), await hit(here), await hit(there)]).toEqual([1, 2, 1]);
      await own.start();
      await together([here, there]);
    });

    it('holds nobody up for long by a Redis that says nothing', async () => {
      const [here, there] = pair();
      await hit(here);
      own.suspend();
      expect(await hit(here)).toBe(2);
      own.resume();
      await together([here, there]);
    });

    it('counts on where Redis has forgotten everything, its scripts too', async () => {
      const [here, there] = pair();
      await hit(here);
      await own.call('FLUSHALL');
      await own.call('SCRIPT', 'FLUSH');
      expect([await hit(here), await hit(there)]).toEqual([1, 2]);
    });
  });
});
