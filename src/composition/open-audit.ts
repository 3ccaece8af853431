import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { signingKey } from '../audit/signing.ts';
import type { SigningKey } from '../audit/signing.ts';
import type { Config } from '../config.ts';
import type { Queryable } from '../database.ts';
import { StartupError } from '../errors.ts';
import type { EventStore } from '../events/event-store.ts';
import type { Logger } from '../logger.ts';
import type { Releasers } from '../releasers.ts';
import { databaseAddress, openDatabase } from './open-database.ts';
import { eventStoreAddress, openEventStore } from './open-event-store.ts';

export interface OpenedAudit {
  readonly store: EventStore;
  /** Where the seals are. */
  readonly database: Queryable;
  /** The service's own key; null when there is none. */
  readonly key: SigningKey | null;
  readonly publicKey: KeyObject | null;
}

/** Opens the configured event store, and the database with its seals, for reading. @throws StartupError */
export async function openAudit(config: Config, logger: Logger, releasers: Releasers): Promise<OpenedAudit> {
  const options = { dataDir: config.DATA_DIR, logger, use: 'reading' } as const;
  const { database, close } = await openDatabase(databaseAddress(config), options);
  releasers.push('database', close);
  const { rows } = await database.query<{ there: boolean }>(
    `SELECT to_regclass('audit_signatures') IS NOT NULL AS there`,
  );
  if (!rows[0]?.there) {
    throw new StartupError('The database has no seals yet: run asyncly migrate, or start the service');
  }
  const { store, close: closeStore } = await openEventStore(eventStoreAddress(config), options);
  releasers.push('event store', closeStore);
  const { auditKey } = config;
  return {
    store,
    database,
    key: auditKey && signingKey(auditKey),
    publicKey: auditKey && createPublicKey(auditKey),
  };
}
