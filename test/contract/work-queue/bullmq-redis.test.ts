import { randomUUID } from 'node:crypto';
import { Queue } from 'bullmq';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { UnavailableError } from '../../../src/errors.ts';
import { createBullmqQueue } from '../../../src/infrastructure/bullmq/bullmq-queue.ts';
import { createRedisQueueBackend } from '../../../src/infrastructure/bullmq/redis-backend.ts';
import { openRedis } from '../../../src/infrastructure/redis/connect.ts';
import type { RedisConnections } from '../../../src/infrastructure/redis/connect.ts';
import { workId } from '../../../src/workers/work-queue.ts';
import type { WorkEntry, WorkItem, WorkOutcome, WorkQueue } from '../../../src/workers/work-queue.ts';
import { silentLogger } from '../../support/database.ts';
import { describeWithRedis, startRedisServer } from '../../support/redis-server.ts';
import type { RedisServer } from '../../support/redis-server.ts';
import { createGate, eventually } from '../../support/waiting.ts';
import { hangingWorkers } from './hanging-workers.ts';
import { describeWorkQueue } from './work-queue-suite.ts';

/** Long enough that a busy machine does not lose a lock, short enough that a test can wait for its end. */
const LOCK_MS = 2_000;

/** Queues of processes that share a Redis. */
function openQueues(url: string) {
  const closes: (() => Promise<void>)[] = [];
  return {
    async connect(): Promise<WorkQueue> {
      const redis: RedisConnections = await openRedis({ url, logger: silentLogger, waitMs: 500 });
      closes.push(() => redis.close());
      const backend = await createRedisQueueBackend(redis);
      const queue = createBullmqQueue(backend, silentLogger, { lockMs: LOCK_MS, retryMs: 200 });
      closes.push(() => queue.close());
      return queue;
    },
    async close(): Promise<void> {
      for (const close of closes.reverse()) await close();
    },
  };
}

describeWithRedis('with redis-server', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedisServer();
  });
  afterAll(() => server.dispose());

  describeWorkQueue('BullMQ on Redis', async () => {
    const queues = openQueues(server.url);
    const workers = hangingWorkers(server.url, LOCK_MS);
    return {
      queue: await queues.connect(),
      connect: () => queues.connect(),
      startHangingWorker: workers.start,
      async leaveFinished(entry) {
        const plain = new Queue('work', { connection: { url: server.url }, prefix: 'asyncly' });
        const id = workId(entry);
        await plain.add(entry.kind, {}, { jobId: id });
        await server.call('LREM', 'asyncly:work:wait', '0', id);
        await server.call('ZADD', 'asyncly:work:completed', String(Date.now()), id);
        expect(await plain.getJobState(id)).toBe('completed');
        await plain.close();
      },
      async dispose() {
        workers.killAll();
        await queues.close();
        await server.call('FLUSHALL');
      },
    };
  });

  const done: WorkOutcome = { done: true };
  const newEntry = (): WorkEntry => ({
    kind: 'job',
    jobId: randomUUID(),
    round: 1,
    attempt: 1,
    dueAt: new Date(),
  });

  describe('when Redis fails', () => {
    async function start() {
      const own = await startRedisServer({ appendOnly: true });
      const queues = openQueues(own.url);
      onTestFinished(async () => {
        await queues.close();
        await own.dispose();
      });
      return { server: own, connect: () => queues.connect() };
    }

    /** The ids that a consumer takes. */
    function consuming(queue: WorkQueue) {
      const taken: string[] = [];
      const consumer = queue.consume(2, (item) => Promise.resolve((taken.push(workId(item)), done)));
      return { taken, consumer };
    }

    it('refuses at once what it is asked while Redis is away, and works again when it is back', async () => {
      const { server, connect } = await start();
      const queue = await connect();
      const { taken, consumer } = consuming(queue);
      await server.stop();
      const entry = newEntry();
      await expect(queue.add([entry])).rejects.toBeInstanceOf(UnavailableError);
      await expect(queue.missing([entry])).rejects.toBeInstanceOf(UnavailableError);
      await expect(queue.readEpoch()).rejects.toBeInstanceOf(UnavailableError);
      await server.start();
      await eventually(() => queue.add([entry]).then(() => true));
      await eventually(() => taken.includes(workId(entry)));
      await consumer.stop();
    });

    it('does not wait for ever for a Redis that says nothing', async () => {
      const { server, connect } = await start();
      const queue = await connect();
      await queue.add([newEntry()]);
      server.suspend();
      await expect(queue.add([newEntry()])).rejects.toBeInstanceOf(UnavailableError);
      server.resume();
      await eventually(() => queue.add([newEntry()]).then(() => true));
    });

    it('starts without Redis, and works once it is there', async () => {
      const { server, connect } = await start();
      await server.stop();
      const queue = await connect();
      const { taken, consumer } = consuming(queue);
      const entry = newEntry();
      await expect(queue.add([entry])).rejects.toBeInstanceOf(UnavailableError);
      await server.start();
      await eventually(() => queue.add([entry]).then(() => true));
      await eventually(() => taken.includes(workId(entry)));
      await consumer.stop();
    });

    it('keeps entries and epoch over a power cut of Redis, where it writes an append-only file', async () => {
      const { server, connect } = await start();
      const queue = await connect();
      const entry = newEntry();
      await queue.add([entry]);
      await queue.replaceEpoch(null, 7n);
      await server.kill();
      await server.start();
      await eventually(async () => (await queue.readEpoch()) === 7n);
      const { taken, consumer } = consuming(queue);
      await eventually(() => taken.includes(workId(entry)));
      await consumer.stop();
    });

    it('goes on with an empty Redis, says that everything is missing, and has no epoch', async () => {
      const { server, connect } = await start();
      const queue = await connect();
      const { taken, consumer } = consuming(queue);
      const delayed: WorkEntry = { ...newEntry(), dueAt: new Date(Date.now() + 60_000) };
      await queue.add([delayed]);
      await queue.replaceEpoch(null, 7n);
      await server.call('FLUSHALL');
      expect(await queue.missing([delayed])).toHaveLength(1);
      expect(await queue.readEpoch()).toBeNull();
      const entry = newEntry();
      await queue.add([entry, delayed]);
      await eventually(() => taken.includes(workId(entry)));
      expect(await queue.missing([delayed])).toEqual([]);
      await consumer.stop();
    });

    it('hands an item out again that was done while Redis was away, when its worker is gone by then', async () => {
      const { server, connect } = await start();
      const queue = await connect();
      const inHand = createGate();
      const goOn = createGate();
      const consumer = queue.consume(1, async () => {
        inHand.open();
        await goOn.opened;
        return done;
      });
      const entry = newEntry();
      await queue.add([entry]);
      await inHand.opened;
      await server.stop();
      const stopping = consumer.stop();
      goOn.open();
      await stopping;
      await server.start();
      const taken = createGate<WorkItem>();
      const next = (await connect()).consume(1, (item) => Promise.resolve((taken.open(item), done)));
      expect(workId(await taken.opened)).toBe(workId(entry));
      await next.stop();
    });

    it('can be stopped while Redis says nothing, and before it ever did', async () => {
      const { server, connect } = await start();
      const first = consuming(await connect());
      server.suspend();
      await first.consumer.stop();
      server.resume();
      await server.stop();
      const second = consuming(await connect());
      await second.consumer.stop();
    });
  });
});
