import type { EventStore } from '../../src/events/event-store.ts';
import { createEventStoreDbEventStore } from '../../src/infrastructure/eventstoredb/event-store.ts';
import { createPostgresEventStore } from '../../src/infrastructure/postgres/event-store.ts';
import { silentLogger } from './database.ts';
import type { TestDatabase } from './database.ts';
import { startEventStoreDouble } from './eventstoredb/server.ts';
import type { EventStoreDouble } from './eventstoredb/server.ts';

export type StoreKind = 'Postgres' | 'EventStoreDB';
export const STORE_KINDS: readonly StoreKind[] = ['Postgres', 'EventStoreDB'];

/**
 * A store of this kind beside a test's database; all of it ends with `close`.
 * @param running for EventStoreDB, one that runs already; default: a new one
 */
export async function openStore(
  kind: StoreKind,
  { url, database }: Pick<TestDatabase, 'url' | 'database'>,
  running?: EventStoreDouble,
): Promise<EventStore> {
  if (kind === 'Postgres') return createPostgresEventStore({ url, database, logger: silentLogger });
  const double = running ?? (await startEventStoreDouble());
  const store = createEventStoreDbEventStore({ url: double.url, logger: silentLogger });
  return { ...store, close: () => store.close().finally(() => double.stop()) };
}
