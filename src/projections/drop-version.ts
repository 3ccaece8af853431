import type { Database, Queryable } from '../database.ts';
import { identifier } from './table-definitions.ts';
import { forgetVersion, schemaOf } from './versions.ts';
import type { Version } from './versions.ts';

/** Drops a version that is not live, with its tables. */
export async function dropVersion(
  database: Database,
  version: Pick<Version, 'projection' | 'version'>,
): Promise<void> {
  await database.transaction((tx) => dropVersionIn(tx, version));
}

export async function dropVersionIn(
  tx: Queryable,
  version: Pick<Version, 'projection' | 'version'>,
): Promise<void> {
  await forgetVersion(tx, version);
  await tx.query(`DROP SCHEMA IF EXISTS ${identifier(schemaOf(version))} CASCADE`);
}
