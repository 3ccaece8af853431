import type { Config } from '../config.ts';
import { StartupError } from '../errors.ts';
import { readClusterRecord } from '../infrastructure/embedded/cluster.ts';
import { openEmbeddedPostgres } from '../infrastructure/embedded/embedded-postgres.ts';
import { createDatabase } from '../infrastructure/postgres/database.ts';
import type { PostgresDatabase } from '../infrastructure/postgres/database.ts';
import { assertMigrated, migrate } from '../infrastructure/postgres/migrate.ts';
import type { Logger } from '../logger.ts';

/** What stands for the Postgres of DATA_DIR where an address is wanted. */
export const EMBEDDED = 'embedded';

export interface OpenDatabaseOptions {
  readonly dataDir: string;
  readonly logger: Logger;
  /**
   * `reading` takes the database as it is and makes none; `maintaining` as well, but it has to have this build's schema;
   * `writing` brings it there first.
   */
  readonly use: 'reading' | 'maintaining' | 'writing';
}

export interface OpenedDatabase {
  readonly url: string;
  readonly database: PostgresDatabase;
  /** An embedded server that nobody else uses stops with it. Idempotent. */
  readonly close: () => Promise<void>;
}

/** Where the configured Postgres is. */
export function databaseAddress({ DATABASE_URL }: Config): string {
  return DATABASE_URL ?? EMBEDDED;
}

/**
 * Opens a Postgres for a tool, beside the service or without it.
 * @param address a postgres:// URL or {@link EMBEDDED}
 * @throws StartupError when there is none, or it cannot be brought to this build's schema
 */
export async function openDatabase(
  address: string,
  { dataDir, logger, use }: OpenDatabaseOptions,
): Promise<OpenedDatabase> {
  if (address !== EMBEDDED) return open(address, { logger, use }, () => Promise.resolve());
  if (use !== 'writing' && readClusterRecord(dataDir) === undefined) {
    throw new StartupError(`DATA_DIR ${dataDir} has no embedded database`, { dataDir });
  }
  const postgres = await openEmbeddedPostgres({ dataDir, roles: [], logger });
  return open(postgres.url, { logger, use }, () => postgres.stop());
}

async function open(
  url: string,
  { logger, use }: Pick<OpenDatabaseOptions, 'logger' | 'use'>,
  stop: () => Promise<void>,
): Promise<OpenedDatabase> {
  try {
    if (use === 'writing') await migrate(url, { logger });
  } catch (error) {
    await stop();
    throw error;
  }
  const database = createDatabase({ url, max: 3, applicationName: 'asyncly cli', logger });
  let closing: Promise<void> | null = null;
  const close = (): Promise<void> => (closing ??= database.close().finally(stop));
  try {
    if (use === 'maintaining') await assertMigrated(database);
  } catch (error) {
    await close();
    throw error;
  }
  return { url, database, close };
}
