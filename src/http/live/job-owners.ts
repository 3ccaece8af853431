import { LRUCache } from 'lru-cache';
import type { EventStore, RecordedEvent } from '../../events/event-store.ts';
import { decodeEvent } from '../../events/codec.ts';
import { jobStream } from '../../events/job.ts';
import type { LiveQueries } from '../../queries/live.ts';
import { jobIdOf } from './live-messages.ts';

/** Knows whose job an event is about. A job never changes hands, so nothing here grows old. */
export interface JobOwners {
  /** Looks up in one go what the events need. @throws UnavailableError */
  prepare(events: readonly RecordedEvent[]): Promise<void>;
  /** @returns null when there is no such job @throws UnavailableError */
  of(jobId: string): Promise<string | null>;
}

const REMEMBERED = 20_000;

export function createJobOwners({
  queries,
  store,
}: {
  readonly queries: LiveQueries;
  readonly store: EventStore;
}): JobOwners {
  const owners = new LRUCache<string, string>({ max: REMEMBERED });

  async function ownerInStream(jobId: string): Promise<string | null> {
    const [first] = await store.read(jobStream(jobId), { limit: 1 });
    if (!first) return null;
    const event = decodeEvent(first);
    return event.type === 'JobCreated' ? event.data.userId : null;
  }

  /** Whoever follows jobs from their beginning need not ask whose they are. */
  function learn(event: RecordedEvent): void {
    if (event.type === 'JobCreated' && typeof event.data['userId'] === 'string')
      owners.set(jobIdOf(event), event.data['userId']);
  }

  return {
    async prepare(events) {
      events.forEach(learn);
      const unknown = new Set(events.map(jobIdOf).filter((id) => !owners.has(id)));
      if (unknown.size === 0) return;
      for (const [id, owner] of await queries.owners([...unknown])) owners.set(id, owner);
    },
    async of(jobId) {
      const known = owners.get(jobId);
      if (known !== undefined) return known;
      const owner = (await queries.owners([jobId])).get(jobId) ?? (await ownerInStream(jobId));
      if (owner !== null) owners.set(jobId, owner);
      return owner;
    },
  };
}
