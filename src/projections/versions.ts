import type { Queryable } from '../database.ts';
import { AppError } from '../errors.ts';
import { START } from '../events/event-store.ts';
import type { Position } from '../events/event-store.ts';
import { CheckpointMovedError } from '../subscriptions/checkpoints.ts';

export type VersionState = 'live' | 'building' | 'verifying' | 'previous';

/** A version of a read model that the service does not look at. Its tables are in a schema of its own. */
export interface Version {
  readonly projection: string;
  readonly version: number;
  readonly state: Exclude<VersionState, 'live'>;
  /** How far the events are in its tables. */
  readonly position: Position;
  /** The release of Asyncly that began it; null for what the projector had made before. */
  readonly release: string | null;
  readonly begunAt: Date;
}

interface VersionRow {
  readonly projection: string;
  readonly version: number;
  readonly state: Version['state'];
  readonly position: bigint;
  readonly release: string | null;
  readonly begun_at: Date;
}

/** Where the tables of a version are while it is not the live one. */
export function schemaOf({ projection, version }: Pick<Version, 'projection' | 'version'>): string {
  return `read_model_${projection}_${version}`;
}

/** What another process has dropped, or made the live version, is not to be written to. */
export class VersionGoneError extends AppError {
  constructor({ projection, version }: Pick<Version, 'projection' | 'version'>) {
    super('VERSION_GONE', `Version ${version} of ${projection} has been dropped or replaced meanwhile`, {
      projection,
      version,
    });
  }
}

/** All versions that are not live, of this projection or of every one, the oldest first. */
export async function loadVersions(database: Queryable, projection?: string): Promise<Version[]> {
  const { rows } = await database.query<VersionRow>(
    `SELECT projection, version, state, position, release, begun_at FROM projection_versions
     WHERE state <> 'live' AND ($1::text IS NULL OR projection = $1) ORDER BY projection, version`,
    [projection ?? null],
  );
  return rows.map(({ begun_at: begunAt, ...row }) => ({ ...row, begunAt }));
}

/** The number of the live version. */
export async function liveVersion(database: Queryable, projection: string): Promise<number> {
  const { rows } = await database.query<{ version: number }>(
    `SELECT version FROM projection_versions WHERE projection = $1 AND state = 'live'`,
    [projection],
  );
  return rows[0]?.version ?? 1;
}

const NOTE_LIVE = `
  INSERT INTO projection_versions (projection, version, state)
  SELECT name, $2, 'live' FROM unnest($1::text[]) AS name
  WHERE NOT EXISTS (SELECT FROM projection_versions WHERE projection = name AND state = 'live')`;

/** Gives the live versions new numbers: whatever is known of them by number is not to be relied on any more. */
export async function renumberLive(tx: Queryable, projections: readonly string[]): Promise<void> {
  await tx.query(
    `UPDATE projection_versions SET version = version + 1 WHERE state = 'live' AND projection = ANY ($1)`,
    [projections],
  );
  await tx.query(NOTE_LIVE, [projections, 2]);
}

/**
 * Notes a new version that has no events yet. Its tables belong into the same transaction.
 * @param above its number is above this one, and above that of every other version
 */
export async function addVersion(
  tx: Queryable,
  {
    projection,
    state,
    release,
    above = 0,
  }: {
    readonly projection: string;
    readonly state: 'building' | 'verifying';
    readonly release: string;
    readonly above?: number;
  },
): Promise<Version> {
  await tx.query(NOTE_LIVE, [[projection], 1]);
  const { rows } = await tx.query<{ version: number; begun_at: Date }>(
    `INSERT INTO projection_versions (projection, version, state, position, release)
     SELECT $1, greatest(max(version), $5) + 1, $2, $3, $4 FROM projection_versions WHERE projection = $1
     RETURNING version, begun_at`,
    [projection, state, START, release, above],
  );
  const [row] = rows;
  if (!row) throw new Error('INSERT returned no row');
  return { projection, version: row.version, state, position: START, release, begunAt: row.begun_at };
}

/** @throws CheckpointMovedError it does not stand at `from`: it is gone, or another process fills it */
export async function moveVersion(
  tx: Queryable,
  { projection, version }: Pick<Version, 'projection' | 'version'>,
  from: Position,
  to: Position,
): Promise<void> {
  const { rowCount } = await tx.query(
    `UPDATE projection_versions SET position = $4 WHERE projection = $1 AND version = $2 AND position = $3`,
    [projection, version, from, to],
  );
  if (rowCount !== 1) throw new CheckpointMovedError(`${projection}@${version}`);
}

/** Forgets versions; their tables are dropped in the same transaction. */
export async function forgetVersion(
  tx: Queryable,
  { projection, version }: Pick<Version, 'projection' | 'version'>,
): Promise<void> {
  await tx.query(
    `DELETE FROM projection_versions WHERE projection = $1 AND version = $2 AND state <> 'live'`,
    [projection, version],
  );
}

/**
 * Makes a version the live one, and the live one the previous one, which stands at `position`.
 * @returns the number of what was live
 * @throws VersionGoneError
 */
export async function exchangeVersions(
  tx: Queryable,
  next: Pick<Version, 'projection' | 'version'>,
  position: Position,
): Promise<number> {
  const { rows } = await tx.query<{ version: number; state: VersionState }>(
    `UPDATE projection_versions SET state = CASE WHEN version = $2 THEN 'live' ELSE 'previous' END,
       position = CASE WHEN version = $2 THEN NULL ELSE $3::bigint END
     WHERE projection = $1 AND (version = $2 OR state = 'live') RETURNING version, state`,
    [next.projection, next.version, position],
  );
  const former = rows.find(({ state }) => state === 'previous');
  if (!former || rows.length !== 2) throw new VersionGoneError(next);
  return former.version;
}
