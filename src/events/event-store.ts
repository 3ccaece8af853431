import { AppError } from '../errors.ts';

/** Who caused an event: a user by id, a worker process by id, or the service itself. */
export interface Actor {
  readonly kind: 'user' | 'worker' | 'system';
  readonly id: string;
}

export interface EventMetadata {
  /** Version of the shape of `data`; see `codec.ts`. */
  readonly schemaVersion: number;
  /** Shared by everything that followed from one request. */
  readonly correlationId: string;
  /** Id of the request or event that led to this event. */
  readonly causationId: string;
  readonly actor: Actor;
  /** ISO 8601, UTC. Never runs backwards within a stream. */
  readonly occurredAt: string;
}

/** An event as the store takes it: plain JSON, already encoded by the codec. */
export interface NewEvent {
  /** UUID chosen by the writer; appending the same ids again is recognised. */
  readonly id: string;
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly metadata: EventMetadata;
}

/** An event as it stands in its stream. Revisions count from 0 without holes. */
export interface RecordedEvent extends NewEvent {
  readonly stream: string;
  readonly revision: number;
}

/** An event as a subscription hands it out: with its place in the order of the whole store. */
export interface PositionedEvent extends RecordedEvent {
  readonly position: Position;
}

/** A place in the store's total order. Positions grow, with holes that mean nothing. */
export type Position = bigint;

/** The position before the first event. */
export const START: Position = -1n;

/**
 * What the writer believes of the stream: nothing at all, that it does not exist, or that its last event has this
 * revision.
 */
export type ExpectedRevision = 'any' | 'no_stream' | number;

export interface ReadOptions {
  /** First revision to read; default 0 forwards, the last one backwards. */
  readonly from?: number;
  readonly direction?: 'forwards' | 'backwards';
  /** Most events to return; default 500. */
  readonly limit?: number;
}

export interface SubscribeOptions {
  /** Hand out events after this position, exclusive. */
  readonly after: Position;
  /** Stream name prefixes to hand out, e.g. `job-`; empty means every stream. A store may be told to leave out those of others. */
  readonly prefixes: readonly string[];
  /** Ends the iteration, without an error. */
  readonly signal: AbortSignal;
  /** Most events in one batch; default 500. Large events make smaller batches: an adapter bounds their bytes as well. */
  readonly batchSize?: number;
}

/**
 * What a subscription yields: batches in order, and `caught-up` marks. A mark's position may be saved as a checkpoint:
 * everything wanted up to it has been handed out. It comes when the backlog is done, and again when the head moves by
 * events that were not asked for.
 */
export type SubscriptionMessage =
  | { readonly kind: 'events'; readonly events: readonly PositionedEvent[] }
  | { readonly kind: 'caught-up'; readonly position: Position };

export interface EventStore {
  /**
   * Appends `events` (at least one) to `stream`, all or none. Resolves with the revision of the last one once they are
   * durable. Repeating a call with the same ids and the same expectation after a lost reply gives the same answer
   * and no second copy (for `any`: best effort; consumers drop doubles by event id).
   * @throws WrongExpectedRevisionError the stream is not where the writer believed; nothing was written
   * @throws EventTooLargeError one encoded event exceeds {@link MAX_EVENT_BYTES}; nothing was written
   * @throws UnavailableError the store does not answer or is overloaded; whether the events were written is unknown
   */
  append(
    stream: string,
    events: readonly NewEvent[],
    options: { readonly expected: ExpectedRevision },
  ): Promise<{ readonly revision: number }>;

  /** One page of a stream in the wanted direction; empty for a stream that does not exist or beyond its end. */
  read(stream: string, options?: ReadOptions): Promise<RecordedEvent[]>;

  /**
   * Every event after a position, gap-free and in order, then the ones to come. Ends only by its signal; drops of the
   * connection are mended inside. The consumer's pace is the producer's: at most two batches are held in memory.
   * @throws CheckpointAheadError the position lies beyond the end of the store (a restored backup)
   */
  subscribe(options: SubscribeOptions): AsyncIterable<SubscriptionMessage>;

  /** The position of the newest event, {@link START} for an empty store. */
  head(): Promise<Position>;

  close(): Promise<void>;
}

/** Most bytes of one event's data and metadata as UTF-8 JSON; below EventStoreDB's default of 1 MiB per append. */
export const MAX_EVENT_BYTES = 1_000_000;

/** The stream's last revision is not the one the writer expected. */
export class WrongExpectedRevisionError extends AppError {
  readonly stream: string;
  readonly expected: ExpectedRevision;
  readonly actual: number | 'no_stream';

  constructor(stream: string, expected: ExpectedRevision, actual: number | 'no_stream') {
    super('WRONG_EXPECTED_REVISION', `Stream ${stream} is at ${actual}, not at ${expected}`, {
      stream,
      expected,
      actual,
    });
    this.stream = stream;
    this.expected = expected;
    this.actual = actual;
  }
}

export class EventTooLargeError extends AppError {
  constructor(type: string, bytes: number) {
    super('EVENT_TOO_LARGE', `A ${type} event of ${bytes} bytes exceeds the limit of ${MAX_EVENT_BYTES}`, {
      type,
      bytes,
      limit: MAX_EVENT_BYTES,
    });
  }
}

/** A saved position lies beyond the end of the store: the store was restored from an older backup, or it is another. */
export class CheckpointAheadError extends AppError {
  constructor(checkpoint: Position, head: Position) {
    super(
      'CHECKPOINT_AHEAD',
      `Checkpoint ${checkpoint.toString()} is ahead of the event store's head ${head.toString()}`,
      {
        checkpoint: checkpoint.toString(),
        head: head.toString(),
      },
    );
  }
}

/**
 * Size of an event as it is stored.
 * @returns the UTF-8 bytes of data and metadata as JSON
 * @throws EventTooLargeError above {@link MAX_EVENT_BYTES}
 */
export function assertEventSize(event: { type: string }, dataJson: string, metadataJson: string): number {
  const bytes = Buffer.byteLength(dataJson) + Buffer.byteLength(metadataJson);
  if (bytes > MAX_EVENT_BYTES) throw new EventTooLargeError(event.type, bytes);
  return bytes;
}

/** Reads a whole stream page by page, from `from` (default 0) to its end. */
export async function* readStream(
  store: EventStore,
  stream: string,
  from = 0,
  pageSize = 500,
): AsyncGenerator<RecordedEvent> {
  for (let next = from; ;) {
    const page = await store.read(stream, { from: next, limit: pageSize });
    yield* page;
    if (page.length < pageSize) return;
    next += page.length;
  }
}
