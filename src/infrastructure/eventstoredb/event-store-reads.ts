import type { Readable } from 'node:stream';
import {
  BACKWARDS,
  END,
  FORWARDS,
  START as FROM_START,
  StreamDeletedError,
  StreamNotFoundError,
} from '@eventstore/db-client';
import type {
  AllStreamRecordedEvent,
  EventStoreDBClient,
  RecordedEvent as Recorded,
  StreamingRead,
} from '@eventstore/db-client';
import { START } from '../../events/event-store.ts';
import type {
  EventMetadata,
  Position,
  PositionedEvent,
  ReadOptions,
  RecordedEvent,
} from '../../events/event-store.ts';
import { backoff, sleep } from '../../waiting.ts';
import { LEADER, release } from './client.ts';
import type { Connection } from './connection.ts';
import { GivenUpError, isTransient, NoAnswerError, translateError } from './errors.ts';

type Opened = Pick<Connection, 'client' | 'gaveUp'>;

/** Milliseconds between two events of a read; its client has no deadline. */
const IDLE_TIMEOUT = 4_000;
/** Milliseconds after which a read that failed is not tried again. */
const PATIENCE = 3_000;
const RETRY = { first: 25, most: 500 };

/**
 * One page of a stream; see `EventStore.read`.
 * @param patience milliseconds for the whole of it; default: for as long as events keep coming, and some seconds without
 * @throws UnavailableError
 */
export async function readStreamPage(
  connection: Opened,
  stream: string,
  { from, direction = 'forwards', limit = 500 }: ReadOptions = {},
  patience?: number,
): Promise<RecordedEvent[]> {
  if (limit < 1) return [];
  const deadline = deadlineIn(patience);
  const page = (fromRevision: bigint | typeof FROM_START | typeof END): Promise<RecordedEvent[] | null> =>
    persistently(
      () => readOnce(connection, stream, { fromRevision, direction, maxCount: limit }, deadline),
      deadline,
    );
  if (direction === 'forwards') return (await page(from === undefined ? FROM_START : BigInt(from))) ?? [];
  if (from === undefined) return (await page(END)) ?? [];
  const events = await page(BigInt(from));
  if (events === null || events.length > 0) return events ?? [];
  // Read backwards from beyond its end, a stream looks empty.
  return ((await page(END)) ?? []).filter(({ revision }) => revision <= from);
}

/** The position of the newest event of all, whoever wrote it. @param patience as above @throws UnavailableError */
export async function readHead(connection: Opened, patience?: number): Promise<Position> {
  const deadline = deadlineIn(patience);
  return persistently(async () => {
    const options = { ...LEADER, direction: BACKWARDS, fromPosition: END, maxCount: 1 } as const;
    for await (const { event } of eventsOf(connection, (client) => client.readAll(options), { deadline })) {
      if (event) return event.position.commit;
    }
    return START;
  }, deadline);
}

/**
 * Events of all streams in order, from a position inclusive. Not retried.
 * @param signal ends it early, without an error
 */
export async function* readAllFrom(
  connection: Opened,
  position: Position,
  limit: number,
  signal?: AbortSignal,
): AsyncGenerator<AllStreamRecordedEvent> {
  const fromPosition = position === START ? FROM_START : { commit: position, prepare: position };
  const options = { ...LEADER, direction: FORWARDS, fromPosition, maxCount: limit } as const;
  for await (const { event } of eventsOf(connection, (client) => client.readAll(options), { signal }))
    if (event) yield event;
}

/** The event as the port has it. `data` and `metadata` are ours to trust only in streams of ours. */
function toRecorded(event: Recorded): RecordedEvent {
  return {
    stream: event.streamId,
    revision: Number(event.revision),
    id: event.id,
    type: event.type,
    data: event.data as Readonly<Record<string, unknown>>,
    metadata: event.metadata as unknown as EventMetadata,
  };
}

/**
 * Commit and prepare position are the same for whatever was appended through gRPC: they differ only in the explicit
 * transactions of the old TCP clients, which we neither write nor hand out. One number is thus enough.
 */
export function toPositioned(event: AllStreamRecordedEvent): PositionedEvent {
  return { ...toRecorded(event), position: event.position.commit };
}

/** @returns null for a stream that does not exist */
async function readOnce(
  connection: Opened,
  stream: string,
  options: Parameters<EventStoreDBClient['readStream']>[1],
  deadline: number | null,
): Promise<RecordedEvent[] | null> {
  const events: RecordedEvent[] = [];
  try {
    const read = (client: EventStoreDBClient) => client.readStream(stream, { ...LEADER, ...options });
    for await (const { event } of eventsOf(connection, read, { deadline })) {
      if (event) events.push(toRecorded(event));
    }
    return events;
  } catch (error) {
    if (error instanceof StreamNotFoundError || error instanceof StreamDeletedError) return null;
    throw error;
  }
}

interface ReadLimits {
  /** By `performance.now()`; null: as long as no pause between two events is too long. */
  readonly deadline?: number | null;
  /** Ends it early, without an error. */
  readonly signal?: AbortSignal | undefined;
}

async function* eventsOf<E>(
  connection: Opened,
  open: (client: EventStoreDBClient) => StreamingRead<E>,
  { deadline = null, signal }: ReadLimits,
): AsyncGenerator<E> {
  const { client } = connection;
  const read = open(client);
  // An error that comes when nobody iterates any more would end the process.
  read.on('error', () => undefined);
  const events = (read as unknown as Readable).iterator({ destroyOnReturn: false });
  let stop: (reason: Error | null) => void = () => undefined;
  const stopped = new Promise<Error | null>((resolve) => (stop = resolve));
  const wait = deadline === null ? IDLE_TIMEOUT : Math.max(1, Math.round(deadline - performance.now()));
  const timer = setTimeout(() => stop(new NoAnswerError(wait)), wait);
  const abort = (): void => stop(null);
  signal?.addEventListener('abort', abort, { once: true });
  if (signal?.aborted) abort();
  try {
    for (;;) {
      const next = await Promise.race([events.next() as Promise<IteratorResult<E, undefined>>, stopped]);
      if (next instanceof Error) throw next;
      if (next === null) return;
      if (next.done === true) {
        if (connection.gaveUp(client)) throw new GivenUpError();
        return;
      }
      if (deadline === null) timer.refresh();
      yield next.value;
    }
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    release(read as unknown as Readable, () => read.cancel());
  }
}

function deadlineIn(patience: number | undefined): number | null {
  return patience === undefined ? null : performance.now() + patience;
}

async function persistently<T>(read: () => Promise<T>, deadline: number | null): Promise<T> {
  const lastTry = deadline ?? performance.now() + PATIENCE;
  for (let failures = 1; ; failures++) {
    try {
      return await read();
    } catch (error) {
      const pause = backoff(failures, RETRY.first, RETRY.most);
      if (!isTransient(error) || performance.now() + pause > lastTry) throw translateError(error);
      await sleep(pause);
    }
  }
}
