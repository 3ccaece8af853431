import { jsonEvent, WrongExpectedVersionError } from '@eventstore/db-client';
import type { JSONEventData } from '@eventstore/db-client';
import { assertEventSize, EventTooLargeError, WrongExpectedRevisionError } from '../../events/event-store.ts';
import type { ExpectedRevision, NewEvent, RecordedEvent } from '../../events/event-store.ts';
import type { Logger } from '../../logger.ts';
import { backoff, sleep, within } from '../../waiting.ts';
import { LEADER } from './client.ts';
import type { Connection } from './connection.ts';
import { describe, isTransient, NoAnswerError, translateError, unavailable } from './errors.ts';
import { readStreamPage } from './event-store-reads.ts';
import { createLanes } from './lanes.ts';

export interface Appender {
  /**
   * See `EventStore.append`.
   * @param patience milliseconds after which the caller is answered in any case, and nothing more is sent; default: the appender's
   * own, which bounds the tries alone
   */
  append(
    stream: string,
    events: readonly NewEvent[],
    expected: ExpectedRevision,
    patience?: number,
  ): Promise<{ readonly revision: number }>;
  /** Takes nothing more and waits for what was taken. */
  close(): Promise<void>;
}

export interface AppenderOptions {
  readonly connection: Pick<Connection, 'client' | 'gaveUp'>;
  readonly logger: Logger;
  /** Milliseconds for which an append is tried again; default 8 s. */
  readonly patience?: number;
}

interface Pending {
  readonly stream: string;
  readonly events: readonly NewEvent[];
  readonly expected: ExpectedRevision;
  /** On the clock of `performance.now()`: not tried again after it. */
  readonly deadline: number;
}

const PATIENCE = 8_000;
/** Milliseconds for one call. The server gives up a write that finds no quorum after 2 s. */
const CALL_TIMEOUT = 3_000;
/** How much longer we wait for the client itself, which may still be looking for a node. */
const GRACE = 250;
const RETRY = { first: 50, most: 1_000 };
/** A connection takes 100 calls at a time from most servers; reads need some of them. */
const WIDTH = 64;
const QUEUE = { appends: 20_000, bytes: 64 * 1024 * 1024 };
/** The server's default limit of 1 MiB counts types and a frame for each event as well. */
const MAX_APPEND_BYTES = 1024 * 1024;
const FRAME_BYTES = 64;
/** How far back an append of `any` is looked for when its answer was lost. */
const LOOK_BACK = 500;
const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;

/**
 * One append at a time for a stream, in the order asked for; different streams go side by side. An append whose outcome is
 * not known is made again with the same ids and the expectation it came with: the server then recognises it.
 */
export function createAppender({ connection, logger, patience = PATIENCE }: AppenderOptions): Appender {
  const lanes = createLanes(WIDTH);
  let waitingBytes = 0;
  let closed = false;

  async function carryOut(append: Pending): Promise<{ revision: number }> {
    for (let failures = 0; ;) {
      if (performance.now() > append.deadline)
        throw unavailable('EventStoreDB did not get to this append in time');
      try {
        if (failures > 0 && append.expected === 'any') {
          const revision = await findRecent(append);
          if (revision !== null) return { revision };
        }
        return await call(append);
      } catch (error) {
        if (!isTransient(error))
          throw error instanceof WrongExpectedRevisionError ? error : translateError(error);
        failures++;
        const pause = backoff(failures, RETRY.first, RETRY.most);
        logger.warn(
          { failures, stream: append.stream, reason: describe(error) },
          'Append not answered; trying again',
        );
        if (performance.now() + pause > append.deadline) {
          throw unavailable(`EventStoreDB did not answer an append: ${describe(error)}`);
        }
        await sleep(pause);
      }
    }
  }

  async function call(append: Pending): Promise<{ revision: number }> {
    const { stream, events, expected } = append;
    const deadline = Math.max(Math.min(CALL_TIMEOUT, append.deadline - performance.now()), 1);
    const answer = connection.client.appendToStream(
      stream,
      events.map(({ id, type, data, metadata }) =>
        jsonEvent({ id, type, data: data as JSONEventData, metadata: { ...metadata } }),
      ),
      { ...LEADER, deadline, expectedRevision: typeof expected === 'number' ? BigInt(expected) : expected },
    );
    try {
      const wait = deadline + GRACE;
      const { nextExpectedRevision } = await within(answer, wait, () => new NoAnswerError(Math.round(wait)));
      return { revision: Number(nextExpectedRevision) };
    } catch (error) {
      if (error instanceof WrongExpectedVersionError) return resolveConflict(append, error.actualVersion);
      throw error;
    }
  }

  /** The server says no. It may be that an earlier call was made after all: then our events stand where they belong. */
  async function resolveConflict(append: Pending, said: unknown): Promise<{ revision: number }> {
    const { stream, events, expected } = append;
    if (expected === 'any') {
      const revision = await findRecent(append);
      if (revision !== null) return { revision };
    } else {
      const from = expected === 'no_stream' ? 0 : expected + 1;
      const standing = await readStreamPage(connection, stream, { from, limit: events.length });
      if (standing.length === events.length && standsAt(standing, events, 0)) {
        return { revision: from + events.length - 1 };
      }
    }
    // Some servers give -1 for a stream that does not exist.
    let actual: number | 'no_stream' = typeof said === 'bigint' && said >= 0n ? Number(said) : 'no_stream';
    if (actual === expected) {
      const [last] = await readStreamPage(connection, stream, { direction: 'backwards', limit: 1 });
      actual = last?.revision ?? 'no_stream';
    }
    throw new WrongExpectedRevisionError(stream, expected, actual);
  }

  /** Where an append of `any` stands that was made recently; null when it is not found. */
  async function findRecent({ stream, events }: Pending): Promise<number | null> {
    const limit = LOOK_BACK + events.length;
    const recent = (await readStreamPage(connection, stream, { direction: 'backwards', limit })).reverse();
    const at = recent.findIndex((_, start) => standsAt(recent, events, start));
    return at < 0 ? null : (recent[at + events.length - 1]?.revision ?? null);
  }

  return {
    async append(stream, events, expected, limit) {
      const size = check(events);
      if (closed) throw unavailable('The event store is closed');
      // A single append above the limit of bytes may still pass, alone.
      if (lanes.size >= QUEUE.appends || (lanes.size > 0 && waitingBytes + size > QUEUE.bytes)) {
        throw unavailable(`EventStoreDB is overloaded: ${lanes.size} appends wait`);
      }
      const append = { stream, events, expected, deadline: performance.now() + (limit ?? patience) };
      waitingBytes += size;
      const answer = lanes
        .run(stream, () => carryOut(append))
        .finally(() => {
          waitingBytes -= size;
        });
      if (limit === undefined) return answer;
      return within(answer, limit, () => unavailable('EventStoreDB did not answer an append in time'));
    },
    async close() {
      closed = true;
      await lanes.idle();
    },
  };
}

/** @returns the bytes of all @throws EventTooLargeError, RangeError, or what JSON.stringify throws on data that is no JSON */
function check(events: readonly NewEvent[]): number {
  const [first] = events;
  if (!first) throw new RangeError('An append needs at least one event');
  let size = 0;
  for (const event of events) {
    // The server answers a malformed id with `unknown`, as it does when it is busy.
    if (!UUID.test(event.id)) throw new RangeError(`The id of a ${event.type} event is not a UUID`);
    size += assertEventSize(event, JSON.stringify(event.data), JSON.stringify(event.metadata));
    size += Buffer.byteLength(event.type) + FRAME_BYTES;
  }
  if (size > MAX_APPEND_BYTES) throw new EventTooLargeError(first.type, size);
  return size;
}

function standsAt(stream: readonly RecordedEvent[], events: readonly NewEvent[], start: number): boolean {
  return events.every(({ id }, i) => stream[start + i]?.id === id.toLowerCase());
}
