import type { Position } from '../events/event-store.ts';
import { START } from '../events/event-store.ts';
import { eventsAfter } from './compare-stores.ts';
import type { ComparedStore } from './compare-stores.ts';

export interface Count {
  events: number;
  /** Of data and metadata, as UTF-8 JSON. */
  bytes: number;
}

/** Where an event stands, and when it happened. */
export interface Mark {
  readonly position: Position;
  readonly occurredAt: string;
}

export interface StoreStats extends Count {
  streams: number;
  /** By what the names of streams begin with, `job` for `job-…`. */
  readonly categories: Map<string, Count & { streams: number }>;
  readonly types: Map<string, Count>;
  first: Mark | null;
  last: Mark | null;
}

export interface StoreStatsOptions {
  readonly signal: AbortSignal;
  /** @param fraction of the store that has been read, 0 to 1 */
  readonly onProgress?: (events: number, fraction: number) => void;
}

/** Reads a store from its first event to the one that is the newest now. @throws the signal's reason when it aborts */
export async function readStoreStats(
  compared: ComparedStore,
  { signal, onProgress }: StoreStatsOptions,
): Promise<StoreStats> {
  const stats: StoreStats = {
    events: 0,
    bytes: 0,
    streams: 0,
    categories: new Map(),
    types: new Map(),
    first: null,
    last: null,
  };
  const upTo = await compared.store.head();
  for await (const batch of eventsAfter(compared, { after: START, upTo, signal })) {
    for (const { stream, revision, type, data, metadata, position } of batch) {
      const bytes = Buffer.byteLength(JSON.stringify(data)) + Buffer.byteLength(JSON.stringify(metadata));
      const name = stream.slice(0, stream.indexOf('-'));
      const category = stats.categories.get(name) ?? { events: 0, bytes: 0, streams: 0 };
      const ofType = stats.types.get(type) ?? { events: 0, bytes: 0 };
      for (const count of [stats, category, ofType]) {
        count.events++;
        count.bytes += bytes;
      }
      // A stream begins with revision 0: to count them, none has to be remembered.
      if (revision === 0) {
        stats.streams++;
        category.streams++;
      }
      stats.categories.set(name, category);
      stats.types.set(type, ofType);
      stats.last = { position, occurredAt: metadata.occurredAt };
      stats.first ??= stats.last;
    }
    onProgress?.(stats.events, Number(stats.last?.position ?? 0n) / Math.max(1, Number(upTo)));
  }
  return stats;
}
