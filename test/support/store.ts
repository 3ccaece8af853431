import { v7 as uuidv7 } from 'uuid';
import { encodeEvent } from '../../src/events/codec.ts';
import type { DomainEvent } from '../../src/events/codec.ts';
import type { EventStore, NewEvent, PositionedEvent } from '../../src/events/event-store.ts';
import { createPostgresEventStore } from '../../src/infrastructure/postgres/event-store.ts';
import type { PostgresEventStore } from '../../src/infrastructure/postgres/event-store.ts';
import { createTestDatabase, silentLogger } from './database.ts';
import type { TestDatabase } from './database.ts';

export interface TestStore extends TestDatabase {
  readonly store: PostgresEventStore;
}

/** A database of the test's own with an event store in it. */
export async function createTestStore(): Promise<TestStore> {
  const test = await createTestDatabase();
  const store = createPostgresEventStore({ url: test.url, database: test.database, logger: silentLogger });
  const drop = async (): Promise<void> => {
    await store.close();
    await test.drop();
  };
  return { url: test.url, database: test.database, store, drop, [Symbol.asyncDispose]: drop };
}

/** An event as the store takes it, with the usual metadata. */
export function stored(event: DomainEvent, occurredAt = '2026-05-19T10:00:00.000Z'): NewEvent {
  return encodeEvent(event, uuidv7(), {
    correlationId: 'request',
    causationId: 'request',
    actor: { kind: 'system', id: 'test' },
    occurredAt,
  });
}

/** Everything in the store, in order. */
export async function everything(
  store: EventStore,
  prefixes: readonly string[] = [],
): Promise<PositionedEvent[]> {
  const ended = new AbortController();
  const all: PositionedEvent[] = [];
  for await (const message of store.subscribe({ after: -1n, prefixes, signal: ended.signal })) {
    if (message.kind === 'caught-up') break;
    all.push(...message.events);
  }
  ended.abort();
  return all;
}
