import { createHash } from 'node:crypto';
import { AppError } from '../errors.ts';
import { START } from '../events/event-store.ts';
import type { EventStore, Position, PositionedEvent } from '../events/event-store.ts';
import { isOwnStream, STREAM_PREFIXES } from '../events/streams.ts';
import { backlog, cursorOver } from './backlog.ts';

export interface ComparedStore {
  readonly store: EventStore;
  /** Streams that are not ours may be in it; its subscriptions pass them over. */
  readonly shared: boolean;
}

export interface CompareOptions {
  readonly source: ComparedStore;
  /** How far the source is looked at. */
  readonly upTo: Position;
  readonly target: ComparedStore;
  readonly signal: AbortSignal;
  /** Called after every event that is the same in both. */
  readonly onEvent?: (position: Position) => void;
}

/** How far two stores hold the same events in the same order. */
export interface Comparison {
  /** Events that are the same, from the first one on. */
  readonly events: number;
  /** Streams that begin among them. */
  readonly streams: number;
  /** Hex SHA-256 over them, see {@link eventLine}. */
  readonly sha256: string;
  /** Where the last of them stands in the source. */
  readonly position: Position;
  /** What comes next, null at the end. */
  readonly next: { readonly source: PositionedEvent | null; readonly target: PositionedEvent | null };
}

/** A store that is ours alone has a stream of no kind that this build knows. */
class UnknownStreamError extends AppError {
  constructor({ stream, id, type }: PositionedEvent) {
    super(
      'UNKNOWN_STREAM',
      `Event ${id} (${type}) is in stream ${stream}, which this build of Asyncly does not know: use the newest one`,
      { stream, id, type },
    );
  }
}

/** Compares two stores event by event until one of them ends or they differ. Memory does not grow with their size. */
export async function compareStores({
  source,
  upTo,
  target,
  signal,
  onEvent,
}: CompareOptions): Promise<Comparison> {
  const hash = createHash('sha256');
  const left = cursorOver(eventsOf(source, upTo, signal));
  const right = cursorOver(eventsOf(target, await target.store.head(), signal));
  let events = 0;
  let streams = 0;
  let position = START;
  try {
    for (;;) {
      const [ours, theirs] = await Promise.all([left.next(), right.next()]);
      const line = ours && eventLine(ours);
      if (ours === null || theirs === null || line !== eventLine(theirs)) {
        const next = { source: ours, target: theirs };
        return { events, streams, sha256: hash.digest('hex'), position, next };
      }
      hash.update(`${line}\n`);
      events++;
      if (ours.revision === 0) streams++;
      position = ours.position;
      onEvent?.(position);
    }
  } finally {
    await Promise.all([left.close(), right.close()]);
  }
}

/** The events of one of our stores from the beginning; see {@link eventsAfter}. */
function eventsOf(compared: ComparedStore, upTo: Position, signal: AbortSignal) {
  return eventsAfter(compared, { after: START, upTo, signal });
}

/** Our events between two positions. @throws UnknownStreamError */
export async function* eventsAfter(
  { store, shared }: ComparedStore,
  bounds: { readonly after: Position; readonly upTo: Position; readonly signal: AbortSignal },
): AsyncGenerator<readonly PositionedEvent[], void, void> {
  const prefixes = shared ? STREAM_PREFIXES : [];
  for await (const batch of backlog(store, { ...bounds, prefixes })) {
    const unknown = batch.find(({ stream }) => !isOwnStream(stream));
    if (unknown) throw new UnknownStreamError(unknown);
    yield batch;
  }
}

/** Everything of an event but its position, as one line: a JSON array of stream, revision, id, type, data and metadata. */
function eventLine({ stream, revision, id, type, data, metadata }: PositionedEvent): string {
  return JSON.stringify([stream, revision, id.toLowerCase(), type, data, metadata]);
}
