import type { MessagePort } from 'node:worker_threads';
import type { Json } from '../events/json.ts';
import type { Progress } from './handler.ts';

/** What a thread is given to run one attempt. */
export interface ThreadTask {
  /** `file:` URL of the handler's module. */
  readonly module: string;
  readonly payload: Readonly<Record<string, Json>>;
  readonly jobId: string;
  readonly attempt: number;
  /** Whether the handler's requests may go to private networks. */
  readonly allowPrivateNetworks: boolean;
  /** Carries {@link Report}s up and {@link Abort}s down while the task runs. */
  readonly port: MessagePort;
  /** One cell: reports sent and not yet taken. */
  readonly untaken: Int32Array;
}

export type Report =
  { readonly kind: 'log'; readonly message: string } | ({ readonly kind: 'progress' } & Progress);

/**
 * Reports that may wait between a thread and the process. A handler that reports faster than they are taken is held up
 * in its call: memory stays bounded and no line is lost on the way.
 */
export const MAX_UNTAKEN_REPORTS = 256;

/** Asks the handler to stop, for the reason of the signal outside. */
export interface Abort {
  readonly name: string;
  readonly message: string;
}

/** How an attempt ended inside its thread. Errors travel as plain data: a clone would lose `retryable`. */
export type ThreadOutcome =
  { readonly ok: true; readonly json: string } | { readonly ok: false; readonly error: ThrownError };

export interface ThrownError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly retryable: boolean;
}
