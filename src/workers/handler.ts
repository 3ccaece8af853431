import { inspect } from 'node:util';
import type { RequestInit, Response } from 'undici';
import { AppError } from '../errors.ts';
import type { Json } from '../events/json.ts';

/** Bytes of one log line, or of a progress note, as UTF-8. */
export const MAX_LOG_BYTES = 8_192;

/** What the service passes on about an attempt. */
export interface AttemptContext {
  readonly jobId: string;
  /** Counts from 1 in each round. */
  readonly attempt: number;
  /** Aborted when the job is cancelled, its time is up, or the worker stops. */
  readonly signal: AbortSignal;
  /** Adds a line to the job's log. @throws LogLineTooLongError above {@link MAX_LOG_BYTES} */
  log(message: string): void;
  /** Reports progress. @param percent 0 to 100 @throws RangeError outside of that */
  progress(percent: number, note?: string): void;
}

/** The service's guarded way out, for requests to URLs that come from users. */
export interface HandlerHttp {
  /**
   * Like the global `fetch`, to the public internet alone (everywhere with `WEBHOOK_ALLOW_PRIVATE_NETWORKS`), redirects
   * included. Aborted with the attempt. @throws DestinationNotAllowedError
   */
  fetch(url: string | URL, init?: RequestInit): Promise<Response>;
}

/** What a running handler is given. */
export interface HandlerContext extends AttemptContext {
  readonly http: HandlerHttp;
}

/** What a handler's payload schema must be able to do. Every zod schema can; so can a hand-written object. */
export interface PayloadSchema {
  safeParse(
    payload: unknown,
  ):
    | { readonly success: true; readonly data: unknown }
    | { readonly success: false; readonly error: { readonly issues: readonly PayloadIssue[] } };
}

export interface PayloadIssue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** A job type's work. A module in `HANDLERS_DIR` has one of these as its default export. */
export interface Handler {
  readonly type: string;
  /** Checked at submission where the api has the handler, and always before a run, which gets what it parsed. */
  readonly payload?: PayloadSchema;
  /** An attempt that takes longer is aborted and counts as failed. A submission may ask for less. */
  readonly timeoutMs?: number;
  /** Attempts a round has. A submission may ask for fewer. */
  readonly maxAttempts?: number;
  /** @returns the job's result, plain JSON */
  run(payload: Readonly<Record<string, Json>>, ctx: HandlerContext): Promise<unknown>;
}

/** Thrown by a handler to fail the job at once, with attempts left or not. Any error with `retryable: false` does the same. */
export class NonRetryableError extends Error {
  readonly retryable = false;
}

/** Whether a failed attempt may be tried again: so it is unless the handler's error says `retryable: false`. */
export function isRetryable(error: unknown): boolean {
  return !(typeof error === 'object' && error !== null && 'retryable' in error && error.retryable === false);
}

export class LogLineTooLongError extends AppError {
  constructor(bytes: number) {
    super('LOG_LINE_TOO_LONG', `A log line of ${bytes} bytes exceeds the limit of ${MAX_LOG_BYTES}`, {
      bytes,
    });
  }
}

/**
 * A log line as it is kept. Handlers are often plain JavaScript: what is not a string is shown as `console.log` would.
 * @throws LogLineTooLongError
 */
export function checkedLogLine(message: unknown): string {
  const line = typeof message === 'string' ? message : inspect(message);
  const bytes = Buffer.byteLength(line);
  if (bytes > MAX_LOG_BYTES) throw new LogLineTooLongError(bytes);
  return line;
}

export interface Progress {
  /** 0 to 100 */
  readonly percent: number;
  readonly note: string | null;
}

/** Progress as it is kept. @throws RangeError @throws LogLineTooLongError for the note */
export function checkedProgress(percent: unknown, note?: unknown): Progress {
  if (typeof percent !== 'number' || !(percent >= 0 && percent <= 100)) {
    throw new RangeError(`Progress must be a number from 0 to 100, not ${inspect(percent)}`);
  }
  return { percent, note: note === undefined || note === null ? null : checkedLogLine(note) };
}

/** What the service knows of a job type without running it. */
export interface HandlerInfo {
  readonly type: string;
  readonly timeoutMs: number | null;
  readonly maxAttempts: number | null;
  /**
   * Names what is wrong with a payload, field by field; null when it is fine or the type has no schema.
   * @throws BrokenPayloadSchemaError the handler's schema itself fails
   */
  checkPayload(payload: unknown): Readonly<Record<string, string[]>> | null;
}

/** Every handler of this process and the means to run them. */
export interface HandlerRegistry {
  /** Types this process announces, the built-in ones included; the default handler for any other type is not among them. */
  readonly types: readonly string[];
  /** null for a type that only the default handler would run. */
  find(type: string): HandlerInfo | null;
  /**
   * Runs one attempt. Built-in handlers run here, those of `HANDLERS_DIR` in a worker thread.
   * @param ctx `signal` asks the handler to stop; one in a thread that goes on for 1 s more is ended with its thread
   * Everything it logged has been passed to `ctx` when this settles.
   * @returns the result as plain JSON (undefined becomes null)
   * @throws what the handler threw (an `Error` with the same message, `retryable: false` kept), or the signal's reason
   * @throws NonRetryableError the payload does not fit the schema, or the result cannot be stored
   */
  run(type: string, payload: Readonly<Record<string, Json>>, ctx: AttemptContext): Promise<Json>;
  /** Ends every thread; what still runs in one fails. Idempotent. */
  close(): Promise<void>;
}
