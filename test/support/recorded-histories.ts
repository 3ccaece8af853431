import fc from 'fast-check';
import type { EventStore, RecordedEvent } from '../../src/events/event-store.ts';
import { longHistory, uuid } from './histories.ts';
import { USER } from './job-spec.ts';

/** A job of a random history, with everything that was stored of it, stream by stream. */
export interface RecordedJob {
  readonly id: string;
  /** In the order in which it was written. */
  readonly events: readonly RecordedEvent[];
}

export interface RecordOptions {
  /** Least number of jobs. */
  readonly jobs: number;
  readonly seed: number;
  /** Whose jobs they are to be. */
  readonly userId?: string;
  /** The time that an event is to have, in milliseconds, from the one it has. Must not run backwards within a stream. */
  readonly clock?: (time: number, event: RecordedEvent) => number;
}

/** Writes random histories that the deciders allow, each of jobs of its own. @returns the jobs */
export async function recordHistories(
  store: EventStore,
  { jobs: least, seed, userId = USER, clock = (time) => time }: RecordOptions,
): Promise<RecordedJob[]> {
  const jobs = new Map<string, RecordedEvent[]>();
  for (let part = 0; jobs.size < least; part++) {
    const [events = []] = fc.sample(longHistory, { numRuns: 1, seed: seed * 1_000 + part });
    // The histories all tell of the same four jobs: those of this one get ids of their own.
    const kind = 0x1000 + seed * 0x100 + part;
    const text = JSON.stringify(events.map((event) => ({ ...event, position: undefined })))
      .replaceAll(uuid(1, 0).slice(0, 13), uuid(kind, 0).slice(0, 13))
      .replaceAll(uuid(2, 0).slice(0, 13), uuid(kind + 0x4000, 0).slice(0, 13))
      .replaceAll(`"${USER}"`, JSON.stringify(userId));
    for (const event of JSON.parse(text) as RecordedEvent[]) {
      const id = /^\w+-(.{36})/.exec(event.stream)?.[1] ?? '';
      const occurredAt = new Date(clock(Date.parse(event.metadata.occurredAt), event)).toISOString();
      const { stream, revision, type, data } = event;
      const metadata = { ...event.metadata, occurredAt };
      const recorded = { stream, revision, id: event.id, type, data, metadata };
      jobs.set(id, [...(jobs.get(id) ?? []), recorded]);
    }
  }
  const all = [...jobs].map(([id, events]) => ({ id, events }));
  for (let n = 0; n < all.length; n += 20)
    await Promise.all(all.slice(n, n + 20).map((job) => write(store, job)));
  return all;
}

async function write(store: EventStore, { events }: RecordedJob): Promise<void> {
  for (const [stream, recorded] of streamsOf(events)) {
    const fresh = recorded.map(({ id, type, data, metadata }) => ({ id, type, data, metadata }));
    await store.append(stream, fresh, { expected: 'no_stream' });
  }
}

/** The streams among some events, in the order in which they begin. */
export function streamsOf(events: readonly RecordedEvent[]): Map<string, RecordedEvent[]> {
  const streams = new Map<string, RecordedEvent[]>();
  for (const event of events) streams.set(event.stream, [...(streams.get(event.stream) ?? []), event]);
  return streams;
}
