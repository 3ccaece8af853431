import { DelayedError } from 'bullmq';
import type { JobsOptions } from 'bullmq';
import { errorMessage, UnavailableError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { workId } from '../../workers/work-queue.ts';
import type { WorkConsumer, WorkEntry, WorkItem, WorkOutcome, WorkQueue } from '../../workers/work-queue.ts';

/** What we use of BullMQ's classes, whose full types differ with the backend. */
export interface Closable {
  on(event: 'error', listener: (error: Error) => void): unknown;
  close(): Promise<void>;
}
interface EntryInHand {
  readonly data: WorkItem;
  moveToDelayed(timestamp: number, token?: string): Promise<void>;
}
export interface BullmqQueue extends Closable {
  addBulk(entries: { name: string; data: WorkItem; opts: JobsOptions }[]): Promise<unknown>;
  getJobState(id: string): Promise<string>;
  remove(id: string): Promise<number>;
}
export type EntryProcessor = (entry: EntryInHand, token?: string) => Promise<void>;
export interface WorkerSettings {
  readonly concurrency: number;
  /** Milliseconds an entry stays with a worker that does not renew its lock. */
  readonly lockDuration: number;
  readonly lockRenewTime: number;
  /** Milliseconds between two looks for entries whose lock has run out. */
  readonly stalledInterval: number;
  readonly maxStalledCount: number;
}

/** The parts of BullMQ that depend on where it keeps its entries. */
export interface BullmqBackend {
  readonly queue: BullmqQueue;
  createWorker(processor: EntryProcessor, settings: WorkerSettings): Closable;
  readEpoch(): Promise<bigint | null>;
  replaceEpoch(found: bigint | null, next: bigint): Promise<boolean>;
}

/** Retries and their policy are the decider's: to BullMQ an entry is tried once and leaves no trace. */
const entryOptions: JobsOptions = { attempts: 1, removeOnComplete: true, removeOnFail: true };

/** Entries whose state is asked for at the same time. */
const STATE_QUERIES = 8;

export interface BullmqQueueOptions {
  /** How long a dead worker's entry stays with it, in milliseconds; others look three times as often. Default: 6,000. */
  readonly lockMs?: number;
  /** Until an entry whose processing threw is handed out again, in milliseconds. Default: 5,000. */
  readonly retryMs?: number;
}

/** The queue port over BullMQ, wherever the backend keeps its entries. */
export function createBullmqQueue(
  backend: BullmqBackend,
  logger: Logger,
  { lockMs = 6_000, retryMs = 5_000 }: BullmqQueueOptions = {},
): WorkQueue {
  const { queue } = backend;
  queue.on('error', (error) => logger.warn({ reason: errorMessage(error) }, 'Queue connection'));

  async function available<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      throw new UnavailableError('queue', `The queue does not answer: ${errorMessage(error)}`, {
        cause: error,
      });
    }
  }

  /** Whether the queue still has the item in hand; a finished entry of its id is removed, for it would block the id. */
  async function isQueued(item: WorkItem): Promise<boolean> {
    const id = workId(item);
    const state = await queue.getJobState(id);
    if (state !== 'completed' && state !== 'failed') return state !== 'unknown';
    await queue.remove(id);
    return false;
  }

  return {
    async add(entries) {
      await available(() => queue.addBulk(entries.map(toBullmq)));
    },

    async missing(items) {
      const missing: WorkItem[] = [];
      const rest = items.values();
      const ask = async (): Promise<void> => {
        for (const item of rest) if (!(await isQueued(item))) missing.push(item);
      };
      await available(() => Promise.all(Array.from({ length: STATE_QUERIES }, ask)));
      return missing;
    },

    readEpoch: () => available(() => backend.readEpoch()),
    replaceEpoch: (found, next) => available(() => backend.replaceEpoch(found, next)),

    consume(concurrency, process): WorkConsumer {
      const worker = backend.createWorker(
        async (entry, token) => {
          const outcome = await process(entry.data).catch((error: unknown): WorkOutcome => {
            logger.error({ ...entry.data, err: error }, 'Processing a queue entry failed; trying it again');
            return { done: false, againInMs: retryMs * (0.5 + Math.random() / 2) };
          });
          if (outcome.done) return;
          await entry.moveToDelayed(Date.now() + Math.ceil(outcome.againInMs), token);
          throw new DelayedError();
        },
        {
          concurrency,
          lockDuration: lockMs,
          lockRenewTime: Math.ceil(lockMs / 3),
          stalledInterval: Math.ceil(lockMs / 3),
          // However often its worker dies, BullMQ must not give an entry up: takeovers are counted in events.
          maxStalledCount: 1_000_000,
        },
      );
      worker.on('error', (error) => logger.warn({ reason: errorMessage(error) }, 'Queue worker'));
      return { stop: () => worker.close() };
    },

    close: () => queue.close(),
  };
}

function toBullmq(entry: WorkEntry): { name: string; data: WorkItem; opts: JobsOptions } {
  const { kind, jobId, round, attempt } = entry;
  const delay = Math.max(0, entry.dueAt.getTime() - Date.now());
  return {
    name: kind,
    data: { kind, jobId, round, attempt },
    opts: { ...entryOptions, delay, jobId: workId(entry) },
  };
}
