import { randomUUID } from 'node:crypto';
import { onTestFinished } from 'vitest';
import type { Database } from '../../src/database.ts';
import type { EventStore } from '../../src/events/event-store.ts';
import { createEventStoreDbEventStore } from '../../src/infrastructure/eventstoredb/event-store.ts';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import { createPostgresEventStore } from '../../src/infrastructure/postgres/event-store.ts';
import { maintenanceName } from '../../src/projections/maintenance-connections.ts';
import { maintain } from '../../src/projections/maintenance.ts';
import type { Maintenance, MaintenanceOptions } from '../../src/projections/maintenance.ts';
import { startProjector } from '../../src/projections/projector.ts';
import { projections } from '../../src/projections/registry.ts';
import { createTestDatabase, silentLogger } from './database.ts';
import { startEventStoreDouble } from './eventstoredb/server.ts';
import { eventually } from './waiting.ts';

/** The event stores that read models are maintained over. */
export const stores = ['Postgres', 'EventStoreDB'] as const;

export interface Maintained {
  readonly url: string;
  /** How the command line finds them. */
  readonly env: Readonly<Record<string, string>>;
  readonly database: Database;
  readonly store: EventStore;
  /** Does a piece of maintenance, each time as another process. */
  maintain<T>(work: (m: Maintenance) => Promise<T>, options?: Partial<MaintenanceOptions>): Promise<T>;
  /** Has the read models made up to the end of the store; the projector does not run afterwards. */
  project(): Promise<void>;
  /** Keeps the read models up to date until the test ends, or it is stopped. */
  startProjector(): { stop(): Promise<void> };
  /** Resolves when every read model is at the end of the store. */
  caughtUp(): Promise<void>;
}

/** A database and an event store of the test's own, and the read models over them. */
export async function createMaintained(kind: (typeof stores)[number] = 'Postgres'): Promise<Maintained> {
  const test = await createTestDatabase();
  const { url, database } = test;
  const stops: (() => Promise<unknown>)[] = [() => test.drop()];
  onTestFinished(async () => {
    for (const stop of stops.reverse()) await stop();
  });
  const { store, env } = await openStore(kind, url, database, stops);

  const caughtUp = async (): Promise<void> => {
    const head = await store.head();
    await eventually(async () => {
      const { rows } = await database.query<{ behind: number }>(
        `SELECT count(*)::integer AS behind FROM unnest($1::text[]) AS wanted
         WHERE NOT EXISTS (SELECT FROM checkpoints WHERE name = wanted AND position >= $2)`,
        [projections.map(({ name }) => name), head],
      );
      return rows[0]?.behind === 0;
    }, 30_000);
  };
  const start = (): { stop(): Promise<void> } => {
    const projector = startProjector({
      store,
      database,
      logger: silentLogger,
      holder: randomUUID(),
      projections,
    });
    stops.push(() => projector.stop());
    return projector;
  };

  return {
    url,
    env: { DATABASE_URL: url, ...env },
    database,
    store,
    caughtUp,
    startProjector: start,
    async project() {
      const projector = start();
      await caughtUp();
      await projector.stop();
    },
    async maintain(work, options = {}) {
      const holder = options.holder ?? randomUUID();
      const long = createDatabase({
        url,
        max: 8,
        applicationName: maintenanceName(holder),
        logger: silentLogger,
        statementTimeout: null,
      });
      try {
        return await maintain(
          {
            database: long,
            control: database,
            store,
            logger: silentLogger,
            holder,
            release: 'test',
            signal: new AbortController().signal,
            ...options,
          },
          work,
        );
      } finally {
        await long.close();
      }
    },
  };
}

async function openStore(
  kind: (typeof stores)[number],
  url: string,
  database: Database,
  stops: (() => Promise<unknown>)[],
): Promise<{ store: EventStore; env: Record<string, string> }> {
  if (kind === 'Postgres') {
    const store = createPostgresEventStore({ url, database, logger: silentLogger });
    stops.push(() => store.close());
    return { store, env: {} };
  }
  const double = await startEventStoreDouble();
  const store = createEventStoreDbEventStore({ url: double.url, logger: silentLogger });
  stops.push(
    () => double.stop(),
    () => store.close(),
  );
  return { store, env: { EVENTSTORE_URL: double.url } };
}
