import type { Position } from '../events/event-store.ts';
import { START } from '../events/event-store.ts';
import { catchUp } from './catch-up.ts';
import { compareWithLive } from './compare.ts';
import type { Comparison } from './compare.ts';
import { fillShown } from './fill-shown.ts';
import { assertStoreHolds, livePosition } from './live-position.ts';
import type { Maintenance } from './maintenance.ts';
import { openBuilding } from './open-version.ts';
import type { OpenedVersion } from './open-version.ts';
import type { Projection } from './projection.ts';
import { ShapeChangedError, swap } from './swap.ts';
import { identifier } from './table-definitions.ts';
import { alignIndexes, tablesLike } from './version-tables.ts';
import { schemaOf } from './versions.ts';

export interface Rebuilt {
  readonly projection: string;
  /** What is live now, and what can be rolled back to. */
  readonly version: number;
  readonly previous: number;
  readonly position: Position;
  /** Where an earlier call had stopped; null when this one began it. */
  readonly resumedFrom: Position | null;
  /** What differed between the new rows and those that were live: what has been mended. */
  readonly mended: Comparison;
  /** Why the live one had stopped: it has the same place in front of the same event; null while all is well. */
  readonly stopped: string | null;
}

export interface RebuildReport {
  readonly projections: readonly Rebuilt[];
  /** Events read and applied, each counted once however many read models took it. */
  readonly events: number;
  /** Time of the filling alone, in milliseconds. */
  readonly fillMs: number;
}

/**
 * Makes read models anew from the events, beside the live ones, and puts them in their place. Readers and the projector go on. It
 * can be ended at any point: the next call goes on from there.
 * @param restart begins anew what an earlier call has begun
 * @throws NeverRunError, CheckpointAheadError, UnfitTableError, ShapeChangedError, SwapBlockedError, EventNotApplicableError
 */
export async function rebuild(
  m: Maintenance,
  projections: readonly Projection[],
  { restart = false } = {},
): Promise<RebuildReport> {
  const lives = await Promise.all(projections.map((projection) => livePosition(m.database, projection)));
  await assertStoreHolds(
    m.store,
    lives.map(({ position }) => position),
  );
  const opened: OpenedVersion[] = [];
  for (const projection of projections) opened.push(await openBuilding(m, projection, restart));
  const began = opened.map(({ position }) => position);
  const { events, fillMs } = await fillShown(m, opened);
  const rebuilt: Rebuilt[] = [];
  for (const [i, version] of opened.entries()) {
    const from = began[i] ?? START;
    rebuilt.push({
      ...(await finish(m, version)),
      resumedFrom: version.resumed ? from : null,
      stopped: lives[i]?.stopped ?? null,
    });
  }
  return { projections: rebuilt, events, fillMs };
}

/** From the rows to the live version. */
async function finish(
  m: Maintenance,
  version: OpenedVersion,
): Promise<Omit<Rebuilt, 'resumedFrom' | 'stopped'>> {
  const { projection, live } = version;
  const { name } = projection;
  const show = (phase: 'index' | 'compare' | 'swap'): void => m.onProgress({ phase, projection: name });
  const schema = schemaOf({ projection: name, version: version.version });

  show('index');
  const tables = await tablesLike(m.database, live, schema);
  if (tables === null) throw new ShapeChangedError(name, version.version, 'call the command again');
  await alignIndexes((work) => m.database.transaction(work), live, tables, schema);
  m.signal.throwIfAborted();
  // Statistics for the planner, and visibility for index-only scans: the new tables are read as fast as the old ones at once.
  for (const { table } of live)
    await m.database.query(`VACUUM (ANALYZE) ${identifier(schema)}.${identifier(table)}`);
  m.signal.throwIfAborted();

  show('compare');
  const mended = await compareWithLive(m, version, live);
  m.signal.throwIfAborted();

  show('swap');
  await catchUp(m, [version]);
  const { former, position } = await swap(m, version);
  return { projection: name, version: version.version, previous: former, position, mended };
}
