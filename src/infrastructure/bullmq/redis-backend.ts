import { setImmediate, setTimeout as delay } from 'node:timers/promises';
import { Queue, Worker } from 'bullmq';
import { endConnection, failingFast, untilTried } from '../redis/connect.ts';
import type { RedisConnections } from '../redis/connect.ts';
import type { WorkItem } from '../../workers/work-queue.ts';
import type { BullmqBackend, EntryProcessor, WorkerSettings } from './bullmq-queue.ts';

const QUEUE_NAME = 'work';
/** Everything of ours in Redis begins with it. */
const PREFIX = 'asyncly';
/** Beside the queue, so that it shares its fate. */
const EPOCH_KEY = 'asyncly:epoch';
/** An empty argument stands for no epoch. */
const REPLACE_EPOCH = `
  if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
  redis.call('SET', KEYS[1], ARGV[2])
  return 1`;

/** Milliseconds until adding or asking is given up. */
const ANSWER_MS = 5_000;
/** The longest that a worker's blocking command waits is 10 s; without an answer well beyond that, the connection is dead. */
const BLOCKING_ANSWER_MS = 15_000;
/** How long a worker that stops waits for Redis to hear that its last entries are done. */
const FAREWELL_MS = 2_000;
const GIVE_UP_MS = 10_000;
/** Every attempt to reconnect fails in the same words: they are passed on this often, in milliseconds. */
const REPEAT_MS = 30_000;

/**
 * BullMQ on Redis. Adding and asking reject soon while Redis is away; workers wait for it and go on when it is back.
 */
export async function createRedisQueueBackend(redis: RedisConnections): Promise<BullmqBackend> {
  const client = redis.open('queue', failingFast(ANSWER_MS));
  await untilTried(client);
  const queue = new Queue(QUEUE_NAME, {
    connection: client,
    prefix: PREFIX,
    // Both would wait for Redis, or fail for ever when it is away at start. Its version is checked on connecting.
    skipWaitingForReady: true,
    skipVersionCheck: true,
  });
  return {
    queue: {
      addBulk: (entries) => queue.addBulk(entries),
      getJobState: (id) => queue.getJobState(id),
      remove: (id) => queue.remove(id),
      on: (event, listener) => queue.on(event, withoutRepeats(listener)),
      async close() {
        await queue.close();
        await endConnection(client);
      },
    },
    createWorker: (processor, settings) => createRedisWorker(redis, processor, settings),
    async readEpoch() {
      const epoch = await client.get(EPOCH_KEY);
      return epoch === null ? null : BigInt(epoch);
    },
    async replaceEpoch(found, next) {
      const replaced = await client.eval(REPLACE_EPOCH, 1, EPOCH_KEY, String(found ?? ''), String(next));
      return replaced === 1;
    },
  };
}

function createRedisWorker(redis: RedisConnections, processor: EntryProcessor, settings: WorkerSettings) {
  const givingUp = new AbortController();
  const limits = { maxRetriesPerRequest: null, socketTimeout: BLOCKING_ANSWER_MS };
  const client = redis.open('worker', limits, givingUp.signal);
  const inHand = new Set<Promise<void>>();
  const counted: EntryProcessor = async (entry, token) => {
    const processing = processor(entry, token);
    inHand.add(processing);
    await processing.finally(() => inHand.delete(processing));
  };
  const worker = new Worker(QUEUE_NAME, counted, { ...settings, prefix: PREFIX, connection: client });
  let closing: Promise<void> | null = null;

  async function nothingInHand(): Promise<void> {
    while (inHand.size > 0) await Promise.allSettled(inHand);
  }

  /**
   * BullMQ waits for Redis for as long as it takes, here too. What Redis has not heard by then stays with us until its lock runs
   * out, is handed to another worker, and found to be done.
   */
  async function close(): Promise<void> {
    const closed = worker.close();
    await endBlocking(worker);
    await nothingInHand();
    await Promise.race([closed, pause(FAREWELL_MS)]);
    givingUp.abort();
    // Cut between two attempts, a connection would forget whoever waits for it: the next attempt is the last, and tells them.
    if (client.status !== 'reconnecting') await endConnection(client);
    await Promise.race([closed, pause(GIVE_UP_MS)]);
    await endConnection(client);
  }

  return {
    on: (event: 'error', listener: (error: Error) => void) => worker.on(event, withoutRepeats(listener)),
    close: () => (closing ??= close()),
  };
}

/**
 * BullMQ has told its blocking connection to end and waits for that. One that was between two attempts to reconnect has no end to
 * come to, so it makes one more attempt.
 */
async function endBlocking(worker: Worker<WorkItem, void>): Promise<void> {
  await setImmediate();
  const blocking = await Promise.race([worker.getBackend().blockingClient, setImmediate(null)]).catch(
    () => null,
  );
  if (blocking?.status !== 'reconnecting') return;
  blocking.connect().then(
    () => blocking.disconnect(),
    () => undefined,
  );
}

const pause = (milliseconds: number): Promise<void> => delay(milliseconds, undefined, { ref: false });

function withoutRepeats(listener: (error: Error) => void): (error: Error) => void {
  let last = { message: '', at: Number.NEGATIVE_INFINITY };
  return (error) => {
    const now = performance.now();
    if (error.message === last.message && now - last.at < REPEAT_MS) return;
    last = { message: error.message, at: now };
    listener(error);
  };
}
