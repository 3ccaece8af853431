import type { CommandContext } from '../commands/handle-command.ts';
import { errorMessage } from '../errors.ts';
import type { EventStore } from '../events/event-store.ts';
import type { Job, Json } from '../events/job.ts';
import type { Logger } from '../logger.ts';
import { ExecutionLog } from './execution-log.ts';
import { isRetryable } from './handler.ts';
import type { HandlerRegistry } from './handler.ts';

/** Why a handler was told to stop without its job being at fault: the attempt is handed back and not counted. */
export class StoppedError extends Error {}

/** How one run of a handler ended. */
export type ExecutionOutcome =
  | { readonly kind: 'completed'; readonly result: Json }
  | { readonly kind: 'failed'; readonly error: string; readonly retryable: boolean }
  | { readonly kind: 'stopped'; readonly reason: string };

export interface ExecutionOptions {
  readonly job: Job;
  readonly executionId: string;
  readonly handlers: HandlerRegistry;
  readonly store: EventStore;
  readonly context: CommandContext;
  readonly workerId: string;
  readonly logger: Logger;
}

/** Node's timers fire at once when they are set for longer. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** Longest error text that is kept of a failed attempt, in characters. */
const MAX_ERROR_LENGTH = 2_000;

/** One run of a job's handler, from its payload to its outcome. */
export class Execution {
  readonly id: string;
  /** As its start left it. */
  readonly job: Job;
  readonly #options: ExecutionOptions;
  readonly #abort = new AbortController();

  constructor(options: ExecutionOptions) {
    this.#options = options;
    this.id = options.executionId;
    this.job = options.job;
  }

  /** Asks the handler to stop; what `run` resolves with says so. */
  stop(reason: StoppedError): void {
    this.#abort.abort(reason);
  }

  /** Runs the handler; its log is in the store when this resolves. Never rejects. */
  async run(): Promise<ExecutionOutcome> {
    const { job, executionId, handlers, store, context, logger } = this.#options;
    const log = new ExecutionLog({ store, job, executionId, context, logger });
    const info = handlers.find(job.type);
    const limit = least(job.timeoutMs, info?.timeoutMs ?? null);
    const timer =
      limit === null
        ? undefined
        : setTimeout(() => this.#abort.abort(new TimedOutError(limit)), Math.min(limit, MAX_TIMER_MS));
    try {
      const problems = info?.checkPayload(job.payload) ?? null;
      if (problems !== null) return { kind: 'failed', error: payloadError(problems), retryable: false };
      const { signal } = this.#abort;
      const result = await handlers.run(job.type, job.payload, {
        jobId: job.id,
        attempt: job.attempt,
        signal,
        log: (message) => log.log(message),
        progress: (percent, note) => log.progress(percent, note),
      });
      // A handler that took no notice of the end of its time has failed as well; one that finished while it was to stop has not.
      if (signal.reason instanceof TimedOutError) throw signal.reason;
      return { kind: 'completed', result };
    } catch (error) {
      const reason: unknown = this.#abort.signal.reason;
      if (reason instanceof StoppedError) return { kind: 'stopped', reason: reason.message };
      return { kind: 'failed', error: errorText(reason ?? error), retryable: isRetryable(reason ?? error) };
    } finally {
      clearTimeout(timer);
      await log.close();
    }
  }
}

/** A submission may ask for less time than the handler has, not for more. */
function least(submitted: number | null, ofHandler: number | null): number | null {
  if (submitted === null || ofHandler === null) return submitted ?? ofHandler;
  return Math.min(submitted, ofHandler);
}

class TimedOutError extends Error {
  constructor(milliseconds: number) {
    super(`Timed out after ${milliseconds} ms`);
  }
}

function payloadError(problems: Readonly<Record<string, readonly string[]>>): string {
  const list = Object.entries(problems).map(([field, messages]) => `${field}: ${messages.join(', ')}`);
  return errorText(new Error(`The payload does not fit the job type: ${list.join('; ')}`));
}

/** The text of what a handler threw, of a bounded length and never empty. */
function errorText(error: unknown): string {
  const text = errorMessage(error).trim() || 'The handler failed without a message';
  return text.length > MAX_ERROR_LENGTH ? `${text.slice(0, MAX_ERROR_LENGTH)}…` : text;
}
