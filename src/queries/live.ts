import type { Queryable } from '../database.ts';
import type { Position } from '../events/event-store.ts';

/** Where a projection stands. */
export interface Checkpoint {
  readonly position: Position;
  /** It met an event it cannot apply and stands still until someone has seen to it. */
  readonly stopped: boolean;
}

/** What the live feed asks of the read models. */
export interface LiveQueries {
  /** The checkpoints of these projections; one that has never run is left out. */
  checkpoints(names: readonly string[]): Promise<ReadonlyMap<string, Checkpoint>>;
  /** The revision that the `jobs` read model has of a job; null when it has none. */
  jobRevision(jobId: string): Promise<number | null>;
  /** The owners of jobs, by job id, as far as the read model knows them. */
  owners(jobIds: readonly string[]): Promise<ReadonlyMap<string, string>>;
}

export function createLiveQueries(database: Queryable): LiveQueries {
  return {
    async checkpoints(names) {
      const { rows } = await database.query<{ name: string; position: bigint; stopped: boolean }>(
        'SELECT name, position, error IS NOT NULL AS stopped FROM checkpoints WHERE name = ANY($1::text[])',
        [names],
      );
      return new Map(rows.map(({ name, position, stopped }) => [name, { position, stopped }]));
    },

    async jobRevision(jobId) {
      const { rows } = await database.query<{ revision: number }>('SELECT revision FROM jobs WHERE id = $1', [
        jobId,
      ]);
      return rows[0]?.revision ?? null;
    },

    async owners(jobIds) {
      const { rows } = await database.query<{ id: string; user_id: string }>(
        'SELECT id, user_id FROM jobs WHERE id = ANY($1::uuid[])',
        [jobIds],
      );
      return new Map(rows.map((row) => [row.id, row.user_id]));
    },
  };
}
