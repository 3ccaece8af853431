import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { errorMessage } from '../errors.ts';
import type { Json } from '../events/json.ts';
import type { Logger } from '../logger.ts';
import { workerThreadFile } from '../worker-thread-file.ts';
import type { AttemptContext } from './handler.ts';
import type { Abort, Report, ThreadOutcome, ThreadTask, ThrownError } from './handler-protocol.ts';

export interface HandlerPoolOptions {
  /** Most threads, and so most attempts that run at once. */
  readonly threads: number;
  /** All that a handler sees of the environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Heap of one thread, in MiB; left to Node when not set. */
  readonly heapMb?: number | undefined;
  /** Whether the handlers' requests may go to private networks. */
  readonly allowPrivateNetworks: boolean;
  readonly logger: Logger;
}

/** Worker threads for handlers of the user's, started when wanted. */
export interface HandlerPool {
  /**
   * Runs one attempt of the handler that is the default export of `module`, a `file:` URL.
   * @returns the result
   * @throws what the handler threw, the signal's reason, or an Error when the thread died
   */
  run(module: string, payload: Readonly<Record<string, Json>>, ctx: AttemptContext): Promise<Json>;
  close(): Promise<void>;
}

/** What a handler has between the abort of its signal and the end of its thread. */
const GRACE_MS = 1_000;
const IDLE_THREAD_MS = 30_000;
/** How often a thread gets room for more reports: a handler that logs in a loop must not keep this process busy. */
const MAKE_ROOM_MS = 10;
/** Between the death of a thread and the start of another for what waits. */
const REPLACE_THREAD_MS = 50;

export function createHandlerPool(options: HandlerPoolOptions): HandlerPool {
  const { threads, env, heapMb, allowPrivateNetworks, logger } = options;
  const { filename, execArgv } = workerThreadFile('handler-thread', import.meta.url);
  const pool = new Piscina<ThreadTask | null, ThreadOutcome | null>({
    filename,
    execArgv,
    name: 'runTask',
    minThreads: 0,
    maxThreads: threads,
    idleTimeout: IDLE_THREAD_MS,
    // Waiting on an atomic would freeze an idle thread's sockets and timers, e.g. a handler's own connection pool.
    atomics: 'disabled',
    env: { ...env },
    ...(heapMb === undefined ? {} : { resourceLimits: { maxOldGenerationSizeMb: heapMb } }),
  });
  let closed = false;
  pool.on('error', (error: unknown) =>
    logger.error({ err: error }, 'A handler thread died while it ran nothing'),
  );
  // Piscina starts threads only when a task is submitted: without this, what waits for a dead thread would wait for ever.
  pool.on('workerDestroy', () => {
    setTimeout(() => {
      if (!closed && pool.queueSize > 0) pool.run(null).catch(() => undefined);
    }, REPLACE_THREAD_MS).unref();
  });

  return {
    async run(module, payload, ctx) {
      ctx.signal.throwIfAborted();
      if (closed) throw new Error('The handler pool is closed');
      const { port1: port, port2 } = new MessageChannel();
      const untaken = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
      let taken = 0;
      let room: NodeJS.Timeout | undefined;
      const makeRoom = (): void => {
        room = undefined;
        Atomics.sub(untaken, 0, taken);
        Atomics.notify(untaken, 0);
        taken = 0;
      };
      const take = (report: Report): void => {
        taken++;
        room ??= setTimeout(makeRoom, MAKE_ROOM_MS);
        try {
          if (report.kind === 'log') ctx.log(report.message);
          else ctx.progress(report.percent, report.note ?? undefined);
        } catch (error) {
          logger.error({ err: error, jobId: ctx.jobId }, 'What a handler reported could not be taken');
        }
      };
      port.on('message', take);
      const kill = new AbortController();
      let grace: NodeJS.Timeout | undefined;
      const onAbort = (): void => {
        port.postMessage(abortFor(ctx.signal.reason));
        grace = setTimeout(() => kill.abort(), GRACE_MS);
      };
      ctx.signal.addEventListener('abort', onAbort, { once: true });
      const task: ThreadTask = {
        module,
        payload,
        jobId: ctx.jobId,
        attempt: ctx.attempt,
        allowPrivateNetworks,
        port: port2,
        untaken,
      };
      try {
        const outcome = await pool.run(task, { transferList: [port2], signal: kill.signal });
        if (outcome?.ok) return JSON.parse(outcome.json) as Json;
        throw outcome === null
          ? new Error('A handler thread answered nothing')
          : new HandlerFailure(outcome.error);
      } catch (error) {
        if (kill.signal.aborted) throw ctx.signal.reason;
        throw error instanceof HandlerFailure ? error : deathOf(error);
      } finally {
        ctx.signal.removeEventListener('abort', onAbort);
        clearTimeout(grace);
        // Reports and the outcome come by different ports: what was sent before the outcome may still lie here.
        for (let left; (left = receiveMessageOnPort(port));) take(left.message as Report);
        clearTimeout(room);
        port.close();
      }
    },
    async close() {
      closed = true;
      await pool.destroy();
    },
  };
}

/** What a handler threw in its thread. */
class HandlerFailure extends Error {
  readonly retryable: boolean;

  constructor({ name, message, stack, retryable }: ThrownError) {
    super(message);
    this.name = name;
    this.retryable = retryable;
    if (stack !== undefined) this.stack = stack;
  }
}

function abortFor(reason: unknown): Abort {
  return { name: reason instanceof Error ? reason.name : 'AbortError', message: errorMessage(reason) };
}

function deathOf(error: unknown): Error {
  const why = errorMessage(error).replace(/^worker exited with code: /, 'it exited with code ');
  return new Error(`The handler's thread died: ${why}`, { cause: error });
}
