import type { Queryable } from '../database.ts';
import type { Position } from '../events/event-store.ts';
import type { Projection } from './projection.ts';
import { identifier } from './table-definitions.ts';
import { liveVersion, loadVersions } from './versions.ts';
import type { Version } from './versions.ts';

/** What there is of a read model. */
export interface Listed {
  readonly projection: Pick<Projection, 'name' | 'tables' | 'prefixes'>;
  /** The number of the live version. */
  readonly live: number;
  readonly others: readonly Version[];
}

/** How a read model is. */
export interface Status extends Listed {
  /** null when it has never run. */
  readonly position: Position | null;
  /** How far behind the newest event, in the store's positions. */
  readonly lag: bigint | null;
  readonly state: 'up to date' | 'behind' | 'stopped' | 'never run';
  /** Why it has stopped, and the event it stands in front of. */
  readonly stopped: { readonly reason: string; readonly eventId: string | null } | null;
  readonly rows: Readonly<Record<string, number>>;
}

export async function listProjections(
  database: Queryable,
  projections: readonly Projection[],
): Promise<Listed[]> {
  const versions = await loadVersions(database);
  return Promise.all(
    projections.map(async (projection) => ({
      projection,
      live: await liveVersion(database, projection.name),
      others: versions.filter((version) => version.projection === projection.name),
    })),
  );
}

/** @param head of the event store */
export async function projectionStatus(
  database: Queryable,
  projections: readonly Projection[],
  head: Position,
): Promise<Status[]> {
  const listed = await listProjections(database, projections);
  const { rows } = await database.query<CheckpointRow>(
    'SELECT name, position, failed_event_id, error FROM checkpoints WHERE name = ANY ($1)',
    [projections.map(({ name }) => name)],
  );
  return Promise.all(
    listed.map(async (entry) => ({
      ...entry,
      ...stateOf(
        rows.find(({ name }) => name === entry.projection.name),
        head,
      ),
      rows: await countRows(database, entry.projection.tables),
    })),
  );
}

interface CheckpointRow {
  readonly name: string;
  readonly position: Position;
  readonly failed_event_id: string | null;
  readonly error: string | null;
}

function stateOf(
  row: CheckpointRow | undefined,
  head: Position,
): Pick<Status, 'position' | 'lag' | 'state' | 'stopped'> {
  if (!row) return { position: null, lag: null, state: 'never run', stopped: null };
  const { position, error, failed_event_id: eventId } = row;
  const lag = head > position ? head - position : 0n;
  if (error !== null) return { position, lag, state: 'stopped', stopped: { reason: error, eventId } };
  return { position, lag, state: lag === 0n ? 'up to date' : 'behind', stopped: null };
}

async function countRows(database: Queryable, tables: readonly string[]): Promise<Record<string, number>> {
  const counts = await Promise.all(
    tables.map(async (table) => {
      const { rows } = await database.query<{ count: bigint }>(
        `SELECT count(*) AS count FROM ${identifier(table)}`,
      );
      return [table, Number(rows[0]?.count ?? 0)] as const;
    }),
  );
  return Object.fromEntries(counts);
}
