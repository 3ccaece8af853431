import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import type { Bus } from '../../../src/bus.ts';
import { openRedis } from '../../../src/infrastructure/redis/connect.ts';
import { createRedisBus } from '../../../src/infrastructure/redis/redis-bus.ts';
import { silentLogger } from '../../support/database.ts';
import { describeWithRedis, startRedisServer } from '../../support/redis-server.ts';
import type { RedisServer } from '../../support/redis-server.ts';
import { eventually } from '../../support/waiting.ts';
import { describeBus } from './describe-bus.ts';

/** Buses of as many processes. */
async function openBuses(url: string, count: number) {
  const all = await Promise.all(
    Array.from({ length: count }, () => openRedis({ url, logger: silentLogger, waitMs: 200 })),
  );
  return {
    buses: all.map((redis) => createRedisBus({ redis, logger: silentLogger })),
    close: () => Promise.all(all.map((redis) => redis.close())),
  };
}

describeWithRedis('with redis-server', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedisServer();
  });
  afterAll(() => server.dispose());

  describeBus('Redis', async () => {
    // As many as the suite connects, since it does not wait for a connection.
    const opened = await openBuses(server.url, 20);
    const unused = opened.buses.values();
    const buses: Bus[] = [];
    return {
      connect() {
        const { value } = unused.next();
        if (value === undefined) throw new Error('The suite connects more often than this');
        buses.push(value);
        return value;
      },
      async disconnect() {
        await server.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
        await server.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      },
      async dispose() {
        await Promise.all(buses.map((bus) => bus.close()));
        await opened.close();
      },
    };
  });

  /** What a bus hears, by session id. */
  function hearing(bus: Bus): string[] {
    const ids: string[] = [];
    bus.subscribe('session-ended', ({ sessionId }) => ids.push(sessionId));
    return ids;
  }

  it('starts while Redis is away, is heard in its own process, and by others when it is back', async () => {
    const own = await startRedisServer();
    await own.stop();
    const { buses, close } = await openBuses(own.url, 2);
    onTestFinished(async () => {
      await Promise.all(buses.map((bus) => bus.close()));
      await close();
      await own.dispose();
    });
    const [here, there] = buses as [Bus, Bus];
    const [near, far] = [hearing(here), hearing(there)];
    const sessionId = randomUUID();
    here.publish('session-ended', { sessionId });
    await eventually(() => near.includes(sessionId));
    await own.start();
    await eventually(() => {
      here.publish('session-ended', { sessionId: randomUUID() });
      return far.length > 0;
    });
    expect(far).not.toContain(sessionId);
  });

  it('keeps the databases of one Redis apart', async () => {
    const one = await openBuses(`${server.url}/1`, 2);
    const other = await openBuses(`${server.url}/2`, 2);
    onTestFinished(async () => {
      for (const { buses, close } of [one, other]) {
        await Promise.all(buses.map((bus) => bus.close()));
        await close();
      }
    });
    const [[here, there], [elsewhere, witness]] = [one.buses, other.buses] as [[Bus, Bus], [Bus, Bus]];
    const heard = hearing(there);
    const [stray, proof] = [hearing(elsewhere), hearing(witness)];
    await eventually(() => {
      here.publish('session-ended', { sessionId: randomUUID() });
      return heard.length > 0;
    });
    const marker = randomUUID();
    await eventually(() => {
      elsewhere.publish('session-ended', { sessionId: marker });
      return proof.length > 0;
    });
    expect(new Set(stray)).toEqual(new Set([marker]));
  });
});
