import type { Queryable } from '../database.ts';
import type { Filling } from './fill.ts';
import type { Maintenance } from './maintenance.ts';
import type { Projection } from './projection.ts';
import type { TableDefinition } from './table-definitions.ts';
import { dropVersionIn } from './drop-version.ts';
import { assertNothingHangsOn, createTables, liveTables, tablesLike } from './version-tables.ts';
import { addVersion, loadVersions, schemaOf } from './versions.ts';

export interface OpenedVersion extends Filling {
  /** The live tables, which it is made like. */
  readonly live: readonly TableDefinition[];
  /** It was begun by an earlier call. */
  readonly resumed: boolean;
}

/**
 * A version to be filled and to become the live one. One that was begun already is gone on with, if it was begun by this release
 * and its tables are still like the live ones.
 * @param restart drops what was begun
 * @throws UnfitTableError
 */
export async function openBuilding(
  m: Maintenance,
  projection: Projection,
  restart: boolean,
): Promise<OpenedVersion> {
  return m.database.transaction(async (tx) => {
    const live = await liveTables(tx, projection, m.liveSchema);
    await assertNothingHangsOn(tx, projection, m.liveSchema);
    const versions = await loadVersions(tx, projection.name);
    const begun = versions.find(({ state }) => state === 'building');
    const goesOn =
      begun &&
      !restart &&
      begun.release === m.release &&
      (await tablesLike(tx, live, schemaOf(begun))) !== null;
    if (goesOn) {
      return { projection, version: begun.version, position: begun.position, live, resumed: true };
    }
    if (begun) await dropVersionIn(tx, begun);
    return create(tx, m, projection, live, { state: 'building', above: begun?.version ?? 0 });
  });
}

/** A version to be filled, compared and dropped: without the indexes that only readers need, and not safe from a crash. */
export async function openVerifying(m: Maintenance, projection: Projection): Promise<OpenedVersion> {
  return m.database.transaction(async (tx) => {
    const live = await liveTables(tx, projection, m.liveSchema);
    return create(tx, m, projection, live, { state: 'verifying' });
  });
}

async function create(
  tx: Queryable,
  m: Maintenance,
  projection: Projection,
  live: readonly TableDefinition[],
  wanted: { readonly state: 'building' | 'verifying'; readonly above?: number },
): Promise<OpenedVersion> {
  const { version, position } = await addVersion(tx, {
    projection: projection.name,
    release: m.release,
    ...wanted,
  });
  await createTables(tx, live, {
    liveSchema: m.liveSchema,
    schema: schemaOf({ projection: projection.name, version }),
    unlogged: wanted.state === 'verifying',
    without: projection.readIndexes ?? [],
  });
  return { projection, version, position, live, resumed: false };
}
