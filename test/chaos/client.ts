import { errorMessage } from '../../src/errors.ts';
import { httpClient } from '../support/http-client.ts';
import type { Answer, CallOptions } from '../support/http-client.ts';
import type { History, Outcome } from './history.ts';

export interface User {
  readonly id: string;
  /** An access token or an API key. */
  readonly token: string;
}

/** How a request went. */
export interface Reply {
  readonly outcome: Outcome;
  /** null when there was none. */
  readonly answer: Answer | null;
}

/** Milliseconds that a client waits for an answer: the service promises one sooner, a fault of the network keeps it away. */
const PATIENCE_MS = 6_000;
/** Of a connection that was not made: the request was not sent. */
const NOT_SENT = ['ECONNREFUSED', 'UND_ERR_CONNECT_TIMEOUT'];

/** Makes requests of users and notes how they were answered. */
export class Client {
  readonly #history: History;

  constructor(history: History) {
    this.#history = history;
  }

  /** @param name of the request, for the count of answers */
  async send(
    name: string,
    base: string,
    [method, path]: readonly [string, string],
    options: CallOptions,
  ): Promise<Reply> {
    const call = httpClient(base, PATIENCE_MS);
    const result = await call(method, path, options).catch((error: unknown) => error);
    if (!isAnswer(result)) {
      const code = codeOf(result);
      this.#history.count(name, code);
      return { outcome: NOT_SENT.includes(code) ? 'failed' : 'unknown', answer: null };
    }
    this.#history.count(name, String(result.status));
    return { outcome: outcomeOf(result.status), answer: result };
  }
}

/** What is answered 5xx may have been carried out all the same. */
function outcomeOf(status: number): Outcome {
  if (status >= 500) return 'unknown';
  return status < 300 ? 'ok' : 'failed';
}

function isAnswer(result: unknown): result is Answer {
  return typeof result === 'object' && result !== null && 'status' in result && 'body' in result;
}

/** The system's name of what went wrong, else the message. */
function codeOf(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  const code = cause instanceof Error && 'code' in cause ? cause.code : null;
  if (typeof code === 'string') return code;
  return error instanceof Error && error.name === 'TimeoutError' ? 'no answer' : errorMessage(cause);
}
