import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { openRedis } from '../../../src/infrastructure/redis/connect.ts';
import { createRedisJobCache } from '../../../src/infrastructure/redis/redis-job-cache.ts';
import type { RedisJobCacheOptions } from '../../../src/infrastructure/redis/redis-job-cache.ts';
import { silentLogger } from '../../support/database.ts';
import { newJobState } from '../../support/jobs.ts';
import { describeWithRedis, startRedisServer } from '../../support/redis-server.ts';
import type { RedisServer } from '../../support/redis-server.ts';
import { eventually } from '../../support/waiting.ts';
import { describeJobCache } from './describe-job-cache.ts';

const TTL_MS = 60_000;
const newJob = (text = '') => newJobState({ id: randomUUID(), payload: { text } });

/** The cache as one process has it. */
async function openCache(url: string, options: Partial<RedisJobCacheOptions> = {}) {
  const redis = await openRedis({ url, logger: silentLogger, waitMs: 200 });
  return {
    cache: createRedisJobCache({ redis, logger: silentLogger, ...options }),
    dispose: () => redis.close(),
  };
}

describeWithRedis('with redis-server', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedisServer();
  });
  afterAll(() => server.dispose());

  describeJobCache('Redis', () => openCache(server.url));

  describe('job cache in Redis, among processes', () => {
    const openTwo = async (options: Partial<RedisJobCacheOptions> = {}) => {
      const [one, other] = [await openCache(server.url, options), await openCache(server.url, options)];
      onTestFinished(async () => {
        await one.dispose();
        await other.dispose();
      });
      // Each has seen Redis: what is put from now on, both can read.
      await Promise.all([one.cache.get('nothing'), other.cache.get('nothing')]);
      return [one.cache, other.cache] as const;
    };

    it('shows one what another has put, the newest of all', async () => {
      const [here, there] = await openTwo();
      const job = newJob();
      await Promise.all(
        Array.from({ length: 50 }, (_, revision) =>
          (revision % 2 ? here : there).put({ ...job, revision }, TTL_MS),
        ),
      );
      expect(await here.get(job.id)).toMatchObject({ revision: 49 });
      expect(await there.get(job.id)).toMatchObject({ revision: 49 });
    });

    it('keeps no state that is too large, no older one, and takes none', async () => {
      const [here, there] = await openTwo({ maxBytes: 2_000 });
      const job = newJob('ä'.repeat(100));
      await here.put(job, TTL_MS);
      await here.put({ ...newJob('ä'.repeat(1_000)), id: job.id, revision: 1 }, TTL_MS);
      expect(await there.get(job.id)).toBeNull();
      await there.put(job, TTL_MS);
      expect(await there.get(job.id)).toBeNull();
    });

    it('takes what another version has written for nothing', async () => {
      const [here] = await openTwo();
      const job = newJob();
      await here.put(job, TTL_MS);
      const keys = (await server.call('KEYS', `*${job.id}`)) as string[];
      await server.call('HSET', keys[0]!, 'job', JSON.stringify({ id: job.id, revision: 0 }));
      expect(await here.get(job.id)).toBeNull();
      expect(here.doubtedUntil).toBe(Number.NEGATIVE_INFINITY);
    });

    it('shows a process nothing from before it was there: Redis may have lost newer states', async () => {
      const [here] = await openTwo();
      const job = newJob();
      await here.put(job, TTL_MS);
      const late = await openCache(server.url);
      onTestFinished(late.dispose);
      expect(await late.cache.get(job.id)).toBeNull();
      await here.put({ ...job, revision: 1 }, TTL_MS);
      expect(await late.cache.get(job.id)).toMatchObject({ revision: 1 });
    });
  });

  describe('job cache in Redis, when Redis fails', () => {
    let own: RedisServer;
    let opened: Awaited<ReturnType<typeof openCache>>;
    beforeEach(async () => {
      own = await startRedisServer({ appendOnly: true });
      opened = await openCache(own.url, { doubtMs: 5_000 });
      return async () => {
        await opened.dispose();
        await own.dispose();
      };
    });
    const inDoubt = () => opened.cache.doubtedUntil > performance.now();

    /** Until the cache takes entries again. */
    const back = () =>
      eventually(async () => {
        const job = newJob();
        await opened.cache.put(job, TTL_MS);
        return (await opened.cache.get(job.id)) !== null;
      });

    it('is empty while Redis is away, and in doubt from then on until some time after', async () => {
      const { cache } = opened;
      const job = newJob();
      await cache.put(job, TTL_MS);
      expect(inDoubt()).toBe(false);
      await own.stop();
      await eventually(inDoubt);
      const before = cache.doubtedUntil;
      expect(await cache.get(job.id)).toBeNull();
      await cache.put({ ...job, revision: 1 }, TTL_MS);
      await cache.outdate(job.id, 2);
      expect(cache.doubtedUntil).toBeGreaterThan(before);
      await own.start();
      await back();
      expect(inDoubt()).toBe(true);
      await eventually(() => !inDoubt());
    });

    it('reads nothing that Redis has kept over its restart', async () => {
      const { cache } = opened;
      const job = newJob();
      await cache.put(job, TTL_MS);
      await own.kill();
      await own.start();
      await back();
      expect(await own.call('KEYS', `*${job.id}`)).toHaveLength(1);
      expect(await cache.get(job.id)).toBeNull();
    });

    it('knows when it was cut off, though nothing was asked meanwhile', async () => {
      await opened.cache.get('nothing');
      await own.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      await eventually(inDoubt);
    });

    it('holds nobody up for long by a Redis that says nothing', async () => {
      const { cache } = opened;
      const job = newJob();
      await cache.put(job, TTL_MS);
      own.suspend();
      expect(await cache.get(job.id)).toBeNull();
      expect(inDoubt()).toBe(true);
      own.resume();
      await back();
    });

    it('is in doubt when a write is refused', async () => {
      const { cache } = opened;
      const job = newJob();
      await cache.put(job, TTL_MS);
      await own.call('CONFIG', 'SET', 'maxmemory', '1');
      await cache.put({ ...job, revision: 1 }, TTL_MS);
      expect(inDoubt()).toBe(true);
      await own.call('CONFIG', 'SET', 'maxmemory', '0');
      expect(await cache.get(job.id)).toBeNull();
    });
  });
});
