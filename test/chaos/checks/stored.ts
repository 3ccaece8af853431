import { decodeEvent } from '../../../src/events/codec.ts';
import type { DomainEvent } from '../../../src/events/codec.ts';
import type { EventStore, RecordedEvent } from '../../../src/events/event-store.ts';

/** An event as it stands in the store, decoded. */
export interface StoredEvent {
  readonly recorded: RecordedEvent;
  readonly event: DomainEvent;
}

/** Events by stream, each stream in the order of the store. */
export type Streams = ReadonlyMap<string, readonly StoredEvent[]>;

/** Reads the whole store. @throws UndecodableEventError */
export async function readStreams(store: EventStore): Promise<Streams> {
  const streams = new Map<string, StoredEvent[]>();
  const done = new AbortController();
  for await (const message of store.subscribe({ after: -1n, prefixes: [], signal: done.signal })) {
    if (message.kind === 'caught-up') break;
    for (const recorded of message.events) {
      const stream = streams.get(recorded.stream) ?? [];
      streams.set(recorded.stream, stream);
      stream.push({ recorded, event: decodeEvent(recorded) });
    }
  }
  done.abort();
  return streams;
}
