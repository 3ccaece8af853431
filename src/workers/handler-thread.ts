import { Console } from 'node:console';
import { inspect } from 'node:util';
import { errorMessage } from '../errors.ts';
import { checkedLogLine, checkedProgress, isRetryable, MAX_LOG_BYTES, NonRetryableError } from './handler.ts';
import type { Handler, HandlerContext } from './handler.ts';
import { createHandlerHttp } from './handler-http.ts';
import { handlerOf } from './handler-module.ts';
import { MAX_UNTAKEN_REPORTS } from './handler-protocol.ts';
import type { Abort, Report, ThreadOutcome, ThreadTask, ThrownError } from './handler-protocol.ts';
import { resultJson } from './handler-result.ts';
import { parsePayload } from './payload-schema.ts';

// Standard output belongs to the service's structured log.
globalThis.console = new Console({ stdout: process.stderr, stderr: process.stderr });

/** Runs one attempt; `handler-pool.ts` calls it in a worker thread. Null only wakes the pool. */
export async function runTask(task: ThreadTask | null): Promise<ThreadOutcome | null> {
  if (task === null) return null;
  const { port, untaken } = task;
  const stop = new AbortController();
  port.on('message', ({ name, message }: Abort) => stop.abort(Object.assign(new Error(message), { name })));
  let settled = false;
  const report = (sent: Report): void => {
    // What the handler left running after it returned has no attempt to report for.
    if (settled) return;
    for (let waiting; (waiting = Atomics.load(untaken, 0)) >= MAX_UNTAKEN_REPORTS;)
      Atomics.wait(untaken, 0, waiting, 100);
    Atomics.add(untaken, 0, 1);
    port.postMessage(sent);
  };
  const ctx: HandlerContext = {
    jobId: task.jobId,
    attempt: task.attempt,
    signal: stop.signal,
    http: createHandlerHttp(task.allowPrivateNetworks, stop.signal),
    log: (message) => report({ kind: 'log', message: checkedLogLine(message) }),
    progress: (percent, note) => report({ kind: 'progress', ...checkedProgress(percent, note) }),
  };
  try {
    const handler = handlerOf(await import(task.module)) as Handler;
    stop.signal.throwIfAborted();
    return { ok: true, json: resultJson(await handler.run(payloadFor(handler, task), ctx)) };
  } catch (thrown) {
    return { ok: false, error: describe(thrown) };
  } finally {
    settled = true;
    port.close();
  }
}

function payloadFor(handler: Handler, { payload }: ThreadTask): ThreadTask['payload'] {
  if (handler.payload === undefined) return payload;
  const parsed = parsePayload(handler.type, handler.payload, payload);
  if (parsed.ok) return parsed.data as ThreadTask['payload'];
  const wrong = Object.entries(parsed.errors).map(
    ([field, messages]) => `${field || 'payload'}: ${messages.join(', ')}`,
  );
  throw new NonRetryableError(`The payload does not fit ${handler.type}: ${wrong.join('; ')}`);
}

/** Whatever was thrown, also by code that throws no errors or errors that throw when they are looked at. */
function describe(thrown: unknown): ThrownError {
  try {
    const retryable = isRetryable(thrown);
    if (thrown instanceof Error) {
      return {
        name: thrown.name,
        message: shortened(thrown.message),
        stack: shortened(thrown.stack ?? ''),
        retryable,
      };
    }
    const message = typeof thrown === 'string' ? thrown : messageOf(thrown);
    return { name: 'Error', message: shortened(message), stack: undefined, retryable };
  } catch (error) {
    const message = `The handler threw something unreadable: ${errorMessage(error)}`;
    return { name: 'Error', message, stack: undefined, retryable: true };
  }
}

function messageOf(thrown: unknown): string {
  const hasMessage = typeof thrown === 'object' && thrown !== null && 'message' in thrown;
  return hasMessage && typeof thrown.message === 'string' ? thrown.message : inspect(thrown);
}

/** An error's text goes into an event: it is kept as short as a log line (which has at most 3 bytes a character here). */
function shortened(text: string): string {
  const most = Math.floor(MAX_LOG_BYTES / 3);
  return text.length <= most ? text : `${text.slice(0, most)}…`;
}
