import { randomUUID } from 'node:crypto';
import type { Config } from '../config.ts';
import { createDatabase } from '../infrastructure/postgres/database.ts';
import type { Logger } from '../logger.ts';
import { maintenanceName } from '../projections/maintenance-connections.ts';
import type { MaintenanceOptions } from '../projections/maintenance.ts';
import { projections } from '../projections/registry.ts';
import { Releasers } from '../releasers.ts';
import { databaseAddress, openDatabase } from './open-database.ts';
import { eventStoreAddress, openEventStore } from './open-event-store.ts';

/** Everything that maintaining read models needs of the deployment. */
export interface OpenedMaintenance extends Pick<
  MaintenanceOptions,
  'database' | 'control' | 'store' | 'holder' | 'logger'
> {
  /** Idempotent. */
  readonly close: () => Promise<void>;
}

/** Each version is filled over a connection of its own; one more holds the live one, and one has a snapshot. */
const POOL_SIZE = projections.length + 2;

/**
 * Opens the configured database and event store, beside the service or without it.
 * @throws StartupError when one of them is not there, or has not this build's schema
 */
export async function openMaintenance(config: Config, logger: Logger): Promise<OpenedMaintenance> {
  const releasers = new Releasers(logger);
  const options = { dataDir: config.DATA_DIR, logger } as const;
  try {
    const {
      url,
      database: control,
      close,
    } = await openDatabase(databaseAddress(config), {
      ...options,
      use: 'maintaining',
    });
    releasers.push('database', close);
    const holder = randomUUID();
    const database = createDatabase({
      url,
      max: POOL_SIZE,
      applicationName: maintenanceName(holder),
      logger,
      statementTimeout: null,
    });
    releasers.push('maintenance connections', () => database.close());
    const { store, close: closeStore } = await openEventStore(eventStoreAddress(config), {
      ...options,
      use: 'reading',
    });
    releasers.push('event store', closeStore);
    return { database, control, store, holder, logger, close: () => releasers.releaseAll() };
  } catch (error) {
    await releasers.releaseAll();
    throw error;
  }
}
