import { isDeepStrictEqual } from 'node:util';
import { stateOf } from '../member.ts';
import { eventually } from '../../support/waiting.ts';
import type { Fault, FaultKind } from './fault.ts';
import { pause, readyToStrike, rounded } from './pausing.ts';

/** kill -9; whoever keeps it running starts it again. */
export const postgresKilled: FaultKind = (_random, { postgres }): Fault => ({
  kind: 'kill -9 postgres',
  target: 'postgres',
  holds: 'postgres',
  seconds: 0,
  async inflict() {
    await postgres.ready();
    await postgres.kill();
  },
});

/** No room where Postgres keeps its data, and the service its own files. */
export const diskFull: FaultKind = (random, { disk, postgres }): Fault => {
  const seconds = rounded(random.between(3, 6));
  return {
    kind: 'disk full (ENOSPC)',
    target: 'data folder',
    holds: 'postgres',
    seconds,
    async inflict(signal) {
      await postgres.ready();
      await disk.fill();
      try {
        // Asked at once: a server that needs a new file of its log ends, and cannot come back before there is room.
        if (!(await postgres.hasNoRoom())) throw new Error('There was room for Postgres');
        await pause(seconds, signal);
        if (!(await disk.isFull())) throw new Error('There was room on the disk');
      } finally {
        await disk.makeRoom();
      }
    },
  };
};

export const eventStoreKilled: FaultKind = (random, { eventStore }): Fault => {
  const seconds = rounded(random.between(0, 3));
  return {
    kind: 'kill -9 event store',
    target: 'event store',
    holds: 'event store',
    seconds,
    async inflict(signal) {
      if (eventStore === null) throw new Error('There is no event store');
      await eventStore.kill();
      // Whatever happens it has to come back.
      await pause(seconds, signal).finally(() => eventStore.start());
    },
  };
};

export const eventStoreStopped: FaultKind = (random, { eventStore }): Fault => {
  const seconds = rounded(random.between(2, 6));
  return {
    kind: 'SIGSTOP event store',
    target: 'event store',
    holds: 'event store',
    seconds,
    async inflict(signal) {
      if (eventStore === null) throw new Error('There is no event store');
      eventStore.suspend();
      try {
        await eventually(() => stateOf(eventStore.pid) === 'T');
        await pause(seconds, signal);
      } finally {
        eventStore.resume();
      }
    },
  };
};

export const redisKilled: FaultKind = (random, { redis }): Fault => {
  const seconds = rounded(random.between(0, 3));
  return {
    kind: 'kill -9 redis',
    target: 'redis',
    holds: 'redis',
    seconds,
    async inflict(signal) {
      if (redis === null) throw new Error('There is no Redis');
      await redis.kill();
      await pause(seconds, signal).finally(() => redis.start());
    },
  };
};

export const redisStopped: FaultKind = (random, { redis }): Fault => {
  const seconds = rounded(random.between(2, 5));
  return {
    kind: 'SIGSTOP redis',
    target: 'redis',
    holds: 'redis',
    seconds,
    async inflict(signal) {
      if (redis === null) throw new Error('There is no Redis');
      redis.suspend();
      try {
        await eventually(() => stateOf(redis.pid) === 'T');
        await pause(seconds, signal);
      } finally {
        redis.resume();
      }
    },
  };
};

export const redisFlushed: FaultKind = (_random, { redis }): Fault => ({
  kind: 'FLUSHALL',
  target: 'redis',
  holds: 'redis',
  seconds: 0,
  async inflict(signal) {
    if (redis === null) throw new Error('There is no Redis');
    await readyToStrike('no entry in the queue', async () => (await redis.flushEntries()) > 0, signal);
  },
});

/** Keys that tell the data of a snapshot from what came later. */
const [BEFORE, AFTER] = ['chaos:before-snapshot', 'chaos:after-snapshot'] as const;

export const redisRestored: FaultKind = (random, { redis }): Fault => {
  const seconds = rounded(random.between(4, 9));
  return {
    kind: 'redis from an old snapshot',
    target: 'redis',
    holds: 'redis',
    seconds,
    async inflict(signal) {
      if (redis === null) throw new Error('There is no Redis');
      await redis.call('SET', BEFORE, '1');
      await redis.call('DEL', AFTER);
      await redis.takeSnapshot();
      const before = await redis.changes();
      await pause(seconds, signal);
      if ((await redis.changes()) === before) throw new Error('Nothing has changed since the snapshot');
      await redis.call('SET', AFTER, '1');
      await redis.killAndRestoreSnapshot();
      await redis.start();
      const found = await redis.call('MGET', BEFORE, AFTER);
      if (!isDeepStrictEqual(found, ['1', null])) throw new Error('It has not the data of the snapshot');
    },
  };
};
