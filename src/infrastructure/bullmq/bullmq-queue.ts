import { DelayedError } from 'bullmq';
import type { JobsOptions } from 'bullmq';
import { errorMessage, UnavailableError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { workId } from '../../workers/work-queue.ts';
import type { WorkConsumer, WorkEntry, WorkItem, WorkOutcome, WorkQueue } from '../../workers/work-queue.ts';

/** What we use of BullMQ's classes, whose full types differ with the backend. */
interface Closable {
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
export type WorkerSettings = typeof recovery & { readonly concurrency: number };

/** The parts of BullMQ that depend on where it keeps its entries. */
export interface BullmqBackend {
  readonly queue: BullmqQueue;
  createWorker(processor: EntryProcessor, settings: WorkerSettings): Closable;
  readEpoch(): Promise<bigint | null>;
  writeEpoch(epoch: bigint): Promise<void>;
}

/** Retries and their policy are the decider's: to BullMQ an entry is tried once and leaves no trace. */
const entryOptions: JobsOptions = { attempts: 1, removeOnComplete: true, removeOnFail: true };

/**
 * An entry whose worker died is handed out again about 10 s later at the most: its lock lasts 6 s, and the others look every 2 s.
 * However often that happens, BullMQ must not give it up: takeovers are counted in events.
 */
const recovery = {
  lockDuration: 6_000,
  lockRenewTime: 2_000,
  stalledInterval: 2_000,
  maxStalledCount: 1_000_000,
};

/** Entries whose state is asked for at the same time. */
const STATE_QUERIES = 8;
const PROCESSING_FAILED_RETRY_MS = 5_000;

export function createBullmqQueue(backend: BullmqBackend, logger: Logger): WorkQueue {
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
    writeEpoch: (epoch) => available(() => backend.writeEpoch(epoch)),

    consume(concurrency, process): WorkConsumer {
      const worker = backend.createWorker((entry, token) => processEntry(entry, token, process, logger), {
        ...recovery,
        concurrency,
      });
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

async function processEntry(
  entry: EntryInHand,
  token: string | undefined,
  process: (item: WorkItem) => Promise<WorkOutcome>,
  logger: Logger,
): Promise<void> {
  let outcome: WorkOutcome;
  try {
    outcome = await process(entry.data);
  } catch (error) {
    logger.error({ ...entry.data, err: error }, 'Processing a queue entry failed; trying it again');
    outcome = { done: false, againInMs: PROCESSING_FAILED_RETRY_MS };
  }
  if (outcome.done) return;
  await entry.moveToDelayed(Date.now() + outcome.againInMs, token);
  throw new DelayedError();
}
