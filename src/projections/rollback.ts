import { AppError } from '../errors.ts';
import type { Position } from '../events/event-store.ts';
import { catchUp } from './catch-up.ts';
import type { Filling } from './fill.ts';
import { fillShown } from './fill-shown.ts';
import { assertStoreHolds, livePosition } from './live-position.ts';
import type { Maintenance } from './maintenance.ts';
import type { Projection } from './projection.ts';
import { ShapeChangedError, swap } from './swap.ts';
import { alignIndexes, assertNothingHangsOn, liveTables, tablesLike } from './version-tables.ts';
import { loadVersions, schemaOf } from './versions.ts';

export interface RolledBack {
  readonly projection: string;
  /** What is live now, and what was until now. */
  readonly version: number;
  readonly previous: number;
  readonly position: Position;
  /** Events that it had missed. */
  readonly events: number;
}

class NoPreviousVersionError extends AppError {
  constructor(projection: string) {
    super('NO_PREVIOUS_VERSION', `There is no previous version of ${projection}: it has not been rebuilt`, {
      projection,
    });
  }
}

/**
 * Those of some read models that have a previous version.
 * @throws NoPreviousVersionError none of them has
 */
export async function withPrevious(
  m: Maintenance,
  projections: readonly Projection[],
): Promise<readonly Projection[]> {
  const versions = await loadVersions(m.database);
  const found = projections.filter(({ name }) =>
    versions.some(({ projection, state }) => projection === name && state === 'previous'),
  );
  if (found.length === 0) throw new NoPreviousVersionError(projections.map(({ name }) => name).join(', '));
  return found;
}

/**
 * Puts the previous version in the place of the live one, after it has caught up; what was live is the previous one then.
 * @throws NoPreviousVersionError, ShapeChangedError after a migration of the tables, and what rebuild throws
 */
export async function rollback(m: Maintenance, projection: Projection): Promise<RolledBack> {
  const { name } = projection;
  const versions = await loadVersions(m.database, name);
  const previous = versions.find(({ state }) => state === 'previous');
  if (!previous) throw new NoPreviousVersionError(name);
  const { position } = await livePosition(m.database, projection);
  await assertStoreHolds(m.store, [position]);
  const schema = schemaOf(previous);
  const live = await liveTables(m.database, projection, m.liveSchema);
  await assertNothingHangsOn(m.database, projection, m.liveSchema);
  const tables = await tablesLike(m.database, live, schema);
  if (tables === null) {
    throw new ShapeChangedError(name, previous.version, 'there is no way back; rebuild it instead');
  }
  const filling: Filling = { projection, version: previous.version, position: previous.position };
  await alignIndexes((work) => m.database.transaction(work), live, tables, schema);
  const { events } = await fillShown(m, [filling]);
  m.onProgress({ phase: 'swap', projection: name });
  await catchUp(m, [filling]);
  const swapped = await swap(m, filling);
  return {
    projection: name,
    version: previous.version,
    previous: swapped.former,
    position: swapped.position,
    events,
  };
}
