import type { Queryable } from '../database.ts';
import type { Position } from '../events/event-store.ts';

export interface RoleHealthOptions {
  readonly database: Queryable;
  readonly head: Position;
}

interface ConsumerRow {
  readonly name: string;
  readonly position: Position;
  readonly error: string | null;
  readonly idle: number;
}

/** Seconds after which a consumer that trails the store and does not move is none that runs. */
const STALLED_AFTER = 30;

/**
 * What is wrong with consumers of the event store, whichever process leads them.
 * @param names of their rows in `checkpoints`
 * @returns a line for each, empty when all is well
 */
export async function consumerProblems(
  { database, head }: RoleHealthOptions,
  names: readonly string[],
): Promise<string[]> {
  const { rows } = await database.query<ConsumerRow>(
    `SELECT name, position, error, extract(epoch FROM clock_timestamp() - updated_at)::float8 AS idle
     FROM checkpoints WHERE name = ANY ($1)`,
    [names],
  );
  return names.flatMap((name) => {
    const row = rows.find((checkpoint) => checkpoint.name === name);
    if (!row) return [`${name} has never run`];
    if (row.error !== null) return [`${name} has stopped: ${row.error}`];
    return head > row.position && row.idle > STALLED_AFTER ? [`${name} does not move`] : [];
  });
}

/** What is wrong with the worker of one machine. @param host the beginning of its worker ids */
export async function workerProblems(database: Queryable, host: string): Promise<string[]> {
  const { rows } = await database.query<{ alive: boolean }>(
    `SELECT count(*) > 0 AS alive FROM workers
     WHERE starts_with(worker_id, $1) AND beat_at > clock_timestamp() - interval '10 s'`,
    [`${host}-`],
  );
  return rows[0]?.alive ? [] : [`no worker of ${host} has sent a heartbeat in the last 10 s`];
}
