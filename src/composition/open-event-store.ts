import type { Config } from '../config.ts';
import { StartupError } from '../errors.ts';
import type { EventStore } from '../events/event-store.ts';
import { isOwnStream } from '../events/streams.ts';
import { createPostgresEventStore } from '../infrastructure/postgres/event-store.ts';
import { databaseAddress, EMBEDDED, openDatabase } from './open-database.ts';
import type { OpenDatabaseOptions } from './open-database.ts';

export interface OpenedEventStore {
  /** Its address without credentials, for people. */
  readonly name: string;
  readonly store: EventStore;
  /** Streams that are not ours may be in it. */
  readonly shared: boolean;
  /** Appends asked for in the same turn become durable together, in the order in which they were asked for. */
  readonly appendsTogether: boolean;
  /** Idempotent. */
  readonly close: () => Promise<void>;
}

/** Where the configured event store is. */
export function eventStoreAddress(config: Config): string {
  return config.EVENTSTORE_URL ?? databaseAddress(config);
}

/**
 * Opens an event store by its address.
 * @param address `postgres://…`, `embedded` (the one in DATA_DIR), `esdb://…` or `kurrentdb://…` (`+discover` as well)
 * @throws StartupError when there is none
 */
export async function openEventStore(
  address: string,
  options: OpenDatabaseOptions,
): Promise<OpenedEventStore> {
  if (address === EMBEDDED || /^postgres(ql)?:\/\//.test(address)) return openPostgres(address, options);
  if (!/^[a-z]+(\+discover)?:\/\//.test(address)) {
    // Not repeated: what is nearly an address may hold a password.
    throw new StartupError(
      `That is no address of an event store: give a postgres://, esdb:// or kurrentdb:// URL, or '${EMBEDDED}'`,
    );
  }
  const { createEventStoreDbEventStore } = await import('../infrastructure/eventstoredb/event-store.ts');
  const store = createEventStoreDbEventStore({
    url: address,
    logger: options.logger,
    owns: isOwnStream,
  });
  return {
    name: withoutCredentials(address),
    store,
    shared: true,
    appendsTogether: false,
    close: () => store.close(),
  };
}

async function openPostgres(address: string, options: OpenDatabaseOptions): Promise<OpenedEventStore> {
  const { url, database, close } = await openDatabase(address, options);
  const name = address === EMBEDDED ? `${EMBEDDED} (${options.dataDir})` : withoutCredentials(address);
  try {
    const { rows } = await database.query<{ there: boolean }>(
      `SELECT to_regclass('eventstore.events') IS NOT NULL AS there`,
    );
    if (!rows[0]?.there) throw new StartupError(`${name} has no event store in it`);
  } catch (error) {
    await close();
    throw error;
  }
  const store = createPostgresEventStore({ url, database, logger: options.logger });
  return {
    name,
    store,
    shared: false,
    appendsTogether: true,
    close: () => store.close().finally(close),
  };
}

/** Scheme, hosts and path; neither the user's part nor options, which may name key files. */
function withoutCredentials(address: string): string {
  return address.replace(/\?.*$/, '').replace(/\/\/.*@/, '//');
}
