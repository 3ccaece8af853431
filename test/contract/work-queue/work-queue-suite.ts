import { randomUUID } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { workId } from '../../../src/workers/work-queue.ts';
import type {
  WorkConsumer,
  WorkEntry,
  WorkItem,
  WorkOutcome,
  WorkQueue,
} from '../../../src/workers/work-queue.ts';
import { createGate, eventually } from '../../support/waiting.ts';

export interface WorkQueueSetup {
  readonly queue: WorkQueue;
  /** Another process's view of the same queue. */
  readonly connect: () => Promise<WorkQueue>;
  /**
   * Starts a process that takes one item, says which, and never comes to an end with it.
   * @returns what it took, and how to kill it at once
   */
  readonly startHangingWorker: () => { taken: Promise<WorkItem>; kill(): Promise<void> };
  /** Leaves a finished entry behind, as an older version or a snapshot of the storage might. */
  readonly leaveFinished: (entry: WorkEntry) => Promise<void>;
  readonly dispose: () => Promise<void>;
}

const done: WorkOutcome = { done: true };

function entry(attempt = 1, dueInMs = 0): WorkEntry {
  return { kind: 'job', jobId: randomUUID(), round: 1, attempt, dueAt: new Date(Date.now() + dueInMs) };
}
const itemOf = ({ kind, jobId, round, attempt }: WorkEntry): WorkItem => ({ kind, jobId, round, attempt });

/** What every adapter of the queue port has to do. */
export function describeWorkQueue(name: string, setup: () => Promise<WorkQueueSetup>): void {
  async function start() {
    const given = await setup();
    const consumers: WorkConsumer[] = [];
    onTestFinished(async () => {
      await Promise.all(consumers.map((consumer) => consumer.stop()));
      await given.dispose();
    });
    const consume = (
      process: (item: WorkItem) => Promise<WorkOutcome>,
      { queue = given.queue, concurrency = 4 } = {},
    ): WorkConsumer => {
      const consumer = queue.consume(concurrency, process);
      consumers.push(consumer);
      return consumer;
    };
    return { ...given, consume };
  }

  describe(`work queue: ${name}`, () => {
    it('hands out what was added, as it was added', async () => {
      const { queue, consume } = await start();
      const entries = [entry(), { ...entry(2), kind: 'cancel-finisher' as const }, entry(3)];
      const taken: WorkItem[] = [];
      await queue.add(entries);
      consume((item) => Promise.resolve((taken.push(item), done)));
      await eventually(() => taken.length === 3);
      const inOrder = (items: readonly WorkItem[]) => [...items].sort((a, b) => a.attempt - b.attempt);
      expect(inOrder(taken)).toEqual(inOrder(entries.map(itemOf)));
      await eventually(async () => (await queue.missing(entries)).length === 3);
    });

    it('takes an empty list', async () => {
      const { queue } = await start();
      await queue.add([]);
      expect(await queue.missing([])).toEqual([]);
    });

    it('wakes a consumer that waits', async () => {
      const { queue, consume } = await start();
      const taken = createGate<WorkItem>();
      consume((item) => Promise.resolve((taken.open(item), done)));
      const first = entry();
      await queue.add([first]);
      expect(await taken.opened).toEqual(itemOf(first));
    });

    it('runs an id once that was added twice, though the second came while it was in hand', async () => {
      const { queue, consume } = await start();
      const twice = entry();
      const last = entry(9);
      const inHand = createGate();
      const goOn = createGate();
      const taken: string[] = [];
      await queue.add([twice, twice]);
      await queue.add([twice]);
      consume(async (item) => {
        taken.push(workId(item));
        inHand.open();
        await goOn.opened;
        return done;
      });
      await inHand.opened;
      await queue.add([twice]);
      await queue.add([last]);
      goOn.open();
      await eventually(() => taken.includes(workId(last)));
      await eventually(async () => (await queue.missing([twice, last])).length === 2);
      expect(taken.filter((id) => id === workId(twice))).toHaveLength(1);
    });

    it('hands nothing out before it is due', async () => {
      const { queue, consume } = await start();
      const later = entry(1, 700);
      const takenAt = createGate<number>();
      consume(() => Promise.resolve((takenAt.open(Date.now()), done)));
      await queue.add([later]);
      // One millisecond for the rounding of clocks.
      expect(await takenAt.opened).toBeGreaterThanOrEqual(later.dueAt.getTime() - 1);
    });

    it('hands an item out again, when it is asked to and not before', async () => {
      const { queue, consume } = await start();
      const times: number[] = [];
      let backAt = 0;
      consume(() => {
        times.push(Date.now());
        if (times.length > 1) return Promise.resolve(done);
        backAt = Date.now() + 300;
        return Promise.resolve({ done: false, againInMs: 300 });
      });
      const again = entry();
      await queue.add([again]);
      await eventually(() => times.length === 2);
      expect(times[1]).toBeGreaterThanOrEqual(backAt - 1);
      await eventually(async () => (await queue.missing([again])).length === 1);
    });

    it('hands an item that was given back to another consumer', async () => {
      const { queue, connect, consume } = await start();
      const item = entry();
      const gaveBack = createGate();
      const first = consume(() => Promise.resolve((gaveBack.open(), { done: false, againInMs: 200 })));
      await queue.add([item]);
      await gaveBack.opened;
      await first.stop();
      const taken = createGate<WorkItem>();
      consume((again) => Promise.resolve((taken.open(again), done)), { queue: await connect() });
      expect(await taken.opened).toEqual(itemOf(item));
    });

    it('hands an item out again whose processing throws', async () => {
      const { queue, consume } = await start();
      let tries = 0;
      consume(() => {
        tries++;
        return tries === 1 ? Promise.reject(new Error('no')) : Promise.resolve(done);
      });
      const item = entry();
      await queue.add([item]);
      await eventually(() => tries === 1);
      expect(await queue.missing([item])).toEqual([]);
      await eventually(() => tries === 2);
      await eventually(async () => (await queue.missing([item])).length === 1);
    });

    it('has no more items in hand than it may, and as many', async () => {
      const { queue, consume } = await start();
      let inHand = 0;
      let most = 0;
      let finished = 0;
      const full = createGate();
      await queue.add(Array.from({ length: 12 }, () => entry()));
      consume(
        async () => {
          inHand++;
          most = Math.max(most, inHand);
          if (inHand === 3) full.open();
          await full.opened;
          await new Promise((resolve) => setImmediate(resolve));
          inHand--;
          finished++;
          return done;
        },
        { concurrency: 3 },
      );
      await eventually(() => finished === 12);
      expect(most).toBe(3);
    });

    it('says what is missing: neither what waits, is delayed or in hand, but what is unknown or done', async () => {
      const { queue, consume } = await start();
      const finished = entry(1);
      const active = entry(2);
      const waiting = entry(3);
      const delayed = entry(4, 60_000);
      const unknown = entry(5);
      const inHand = createGate();
      const goOn = createGate();
      consume(
        async ({ attempt }) => {
          if (attempt === 2) {
            inHand.open();
            await goOn.opened;
          }
          return done;
        },
        { concurrency: 1 },
      );
      await queue.add([finished]);
      await eventually(async () => (await queue.missing([finished])).length === 1);
      await queue.add([active]);
      await inHand.opened;
      await queue.add([waiting, delayed]);
      const missing = await queue.missing([finished, active, waiting, delayed, unknown].map(itemOf));
      expect(missing.map(({ attempt }) => attempt).sort()).toEqual([1, 5]);
      goOn.open();
    });

    it('can be given an entry of an id that a finished one was left of, once that is known to be missing', async () => {
      const { queue, leaveFinished, consume } = await start();
      const item = entry();
      await leaveFinished(item);
      expect(await queue.missing([item])).toHaveLength(1);
      await queue.add([item]);
      const taken = createGate<WorkItem>();
      consume((again) => Promise.resolve((taken.open(again), done)));
      expect(await taken.opened).toEqual(itemOf(item));
    });

    it('asks for many items at once', async () => {
      const { queue } = await start();
      const entries = Array.from({ length: 500 }, (_, n) => entry(n + 1, 60_000));
      await queue.add(entries);
      const unknown = entry();
      expect(await queue.missing([...entries, unknown])).toEqual([unknown]);
    });

    it('keeps the epoch, for every process', async () => {
      const { queue, connect } = await start();
      expect(await queue.readEpoch()).toBeNull();
      expect(await queue.replaceEpoch(null, 1n)).toBe(true);
      expect(await queue.replaceEpoch(1n, 9_007_199_254_740_993n)).toBe(true);
      const other = await connect();
      expect(await other.readEpoch()).toBe(9_007_199_254_740_993n);
    });

    it('writes an epoch only in place of the one that was read', async () => {
      const { queue, connect } = await start();
      const other = await connect();
      expect(await queue.replaceEpoch(1n, 2n)).toBe(false);
      expect(await queue.readEpoch()).toBeNull();
      const first = await Promise.all([queue.replaceEpoch(null, -7n), other.replaceEpoch(null, -7n)]);
      expect(first.filter(Boolean)).toHaveLength(1);
      expect(await queue.replaceEpoch(null, 8n)).toBe(false);
      expect(await other.replaceEpoch(7n, 8n)).toBe(false);
      expect(await queue.readEpoch()).toBe(-7n);
      expect(await other.replaceEpoch(-7n, 7n)).toBe(true);
      expect(await queue.readEpoch()).toBe(7n);
    });

    it('waits on stop for the items in hand and takes no others', async () => {
      const { queue, consume } = await start();
      const first = entry(1);
      const second = entry(2);
      const inHand = createGate();
      const goOn = createGate();
      const taken: number[] = [];
      const consumer = consume(
        async ({ attempt }) => {
          taken.push(attempt);
          inHand.open();
          await goOn.opened;
          return done;
        },
        { concurrency: 1 },
      );
      await queue.add([first]);
      await inHand.opened;
      await queue.add([second]);
      let stopped = false;
      const stopping = consumer.stop().then(() => (stopped = true));
      expect(await queue.missing([first])).toEqual([]);
      expect(stopped).toBe(false);
      goOn.open();
      await stopping;
      await consumer.stop();
      expect(taken).toEqual([1]);
      expect(await queue.missing([first, second])).toEqual([first]);
    });

    it('lets an item be given back while the consumer stops', async () => {
      const { queue, consume } = await start();
      const item = entry();
      const inHand = createGate();
      const goOn = createGate();
      const consumer = consume(async () => {
        inHand.open();
        await goOn.opened;
        return { done: false, againInMs: 0 };
      });
      await queue.add([item]);
      await inHand.opened;
      const stopping = consumer.stop();
      goOn.open();
      await stopping;
      expect(await queue.missing([item])).toEqual([]);
      const taken = createGate<WorkItem>();
      consume((again) => Promise.resolve((taken.open(again), done)));
      expect(await taken.opened).toEqual(itemOf(item));
    });

    it('hands an item out again whose process was killed, however often', async () => {
      const { queue, consume, startHangingWorker } = await start();
      const item = entry();
      await queue.add([item]);
      for (let deaths = 0; deaths < 2; deaths++) {
        const worker = startHangingWorker();
        expect(await worker.taken).toEqual(itemOf(item));
        await worker.kill();
      }
      const taken = createGate<WorkItem>();
      consume((again) => Promise.resolve((taken.open(again), done)));
      expect(await taken.opened).toEqual(itemOf(item));
    });
  });
}
