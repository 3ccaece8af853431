import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { EventStoreDBClient } from '@eventstore/db-client';
import { errorMessage, StartupError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { toConnectionString } from './connection-string.ts';

/**
 * Goes with every call: a follower answers with the leader's address, and the client turns to it. Reading from a follower
 * could miss what was just appended.
 */
export const LEADER = { requiresLeader: true };

/** Milliseconds that open calls get to end. */
const CLOSE_TIMEOUT = 1_000;

/**
 * A client that appends by the plain `Append` call, one call an append, with a deadline and an outcome of its own.
 *
 * Left to itself the client takes `BatchAppend` where the server has it: one stream for all appends. In 6.2.1 a reply that
 * is lost there never settles its append; the appends under way are kept in one table for the whole process, so one failed
 * stream rejects those of every other; a reply that comes for one of them afterwards ends the process with a TypeError;
 * a stream that the server ends cleanly is written to for ever; and `not leader` is not understood. It asks `supports`
 * which way to take, and an answer that failed once is remembered for good.
 * @param nth makes its connection unlike those of others, which gRPC would share: by so many milliseconds between two keepalives
 * @throws StartupError the url is no connection string
 */
export function createClient(url: string, logger: Logger, nth = 0): EventStoreDBClient {
  const connectionString = toConnectionString(url, logger, nth);
  let client: EventStoreDBClient;
  try {
    client = EventStoreDBClient.connectionString(connectionString);
  } catch (error) {
    // The client's parser quotes the string, and its error carries the whole of it.
    const quotes = typeof error === 'object' && error !== null && 'connectionString' in error;
    const reason = quotes ? 'it is no connection string' : errorMessage(error);
    throw new StartupError(`EVENTSTORE_URL cannot be used: ${reason}`);
  }
  return Object.defineProperty(client, 'supports', { value: () => Promise.resolve(false) });
}

/**
 * Ends a call that may not have been read to its end. What still comes is read on, into nothing: a call that is cancelled
 * while nobody reads it may never be seen to end, and the client would keep it for ever.
 */
export function release(call: Readable, cancel: () => Promise<void>): void {
  // With a listener left, `resume` would do nothing.
  call.removeAllListeners('readable');
  cancel().catch(() => undefined);
  call.resume();
}

/** Cancels what is open. The idle connection is left to the process's end: the client cannot close it. */
export async function closeClient(client: EventStoreDBClient): Promise<void> {
  await Promise.race([client.dispose(), delay(CLOSE_TIMEOUT, undefined, { ref: false })]);
}
