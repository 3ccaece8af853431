import { createPostgresBackend, Worker } from 'bullmq';
import type { PostgresConnectionOptions } from 'bullmq';
import { backoff, isAborted, sleep } from '../../waiting.ts';
import type { Closable, EntryProcessor, WorkerSettings } from './bullmq-queue.ts';

export interface PostgresWorkerOptions extends WorkerSettings {
  readonly connection: PostgresConnectionOptions;
}

/** Milliseconds between two tries to take an entry while Postgres does not answer, and at first to begin at all. */
const RETRY_MS = 1_000;
const MOST_RETRY_MS = 5_000;

/**
 * BullMQ's worker on Postgres, made to bear that Postgres is away. BullMQ remembers for good when its first connection fails, and of
 * later failures takes only a refused connection for one that is worth a pause: either way it would ask again at once and without end,
 * and leave the process no time for anything else.
 */
export function createPostgresWorker(
  queueName: string,
  processor: EntryProcessor,
  options: PostgresWorkerOptions,
): Closable {
  const closing = new AbortController();
  const listeners: ((error: Error) => void)[] = [];
  const createBackend: typeof createPostgresBackend = (...given) =>
    patient(createPostgresBackend(...given), closing.signal);
  const settings = { ...options, autorun: false, runRetryDelay: RETRY_MS };

  function tell(error: Error): void {
    for (const listener of listeners) listener(error);
  }

  /** @returns the worker once its connections are made; null when it is closed before */
  async function connect(): Promise<Fetching | null> {
    for (let failures = 1; !closing.signal.aborted; failures++) {
      const worker = new Worker(queueName, processor, settings, createBackend);
      worker.on('error', tell);
      try {
        // Also when it is to be closed: a connection that is being made then would stay behind.
        await worker.waitUntilReady();
        if (!isAborted(closing.signal)) return worker;
      } catch (error) {
        if (!isAborted(closing.signal)) tell(error as Error);
      }
      await worker.close().catch(() => undefined);
      await sleep(backoff(failures, RETRY_MS, MOST_RETRY_MS), closing.signal);
    }
    return null;
  }

  const connecting = connect();
  connecting.then((worker) => worker?.run()).catch(tell);
  return {
    on: (_event, listener) => listeners.push(listener),
    async close() {
      closing.abort();
      await (await connecting)?.close();
    },
  };
}

interface Fetching {
  run(): Promise<void>;
  close(): Promise<void>;
}

type Backend = ReturnType<typeof createPostgresBackend>;

/** The same backend, which takes a moment to say that no entry could be had. */
function patient(backend: Backend, closing: AbortSignal): Backend {
  const [moveToActive, waitForJob] = [backend.moveToActive.bind(backend), backend.waitForJob.bind(backend)];
  async function pausing<T>(asked: Promise<T>): Promise<T> {
    try {
      return await asked;
    } catch (error) {
      await sleep(RETRY_MS * (0.5 + Math.random() / 2), closing);
      throw error;
    }
  }
  backend.moveToActive = (...given) => pausing(moveToActive(...given));
  backend.waitForJob = (...given) => pausing(waitForJob(...given));
  return backend;
}
