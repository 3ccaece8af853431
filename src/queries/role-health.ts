import type { Queryable } from '../database.ts';
import type { Position } from '../events/event-store.ts';
import { sleep } from '../waiting.ts';

export interface RoleHealthOptions {
  readonly database: Queryable;
  readonly head: Position;
  /** Milliseconds between a suspicion and the second look. Default: 2,000. */
  readonly secondLookMs?: number;
}

interface ConsumerRow {
  readonly name: string;
  readonly position: Position;
  readonly error: string | null;
  readonly idle: number;
}

/** Seconds after which a consumer that trails the store and does not move is none that runs. */
const STALLED_AFTER = 30;
/** One that was idle till now has until a second look to take what has just come. */
const SECOND_LOOK_MS = 2_000;

/**
 * What is wrong with consumers of the event store, whichever process leads them.
 * @param names of their rows in `checkpoints`
 * @returns a line for each, empty when all is well
 */
export async function consumerProblems(
  options: RoleHealthOptions,
  names: readonly string[],
): Promise<string[]> {
  const problems = await look(options, names);
  if (!problems.some((problem) => problem.endsWith(NO_MOVE))) return problems;
  await sleep(options.secondLookMs ?? SECOND_LOOK_MS);
  return look(options, names);
}

const NO_MOVE = ' does not move';

async function look({ database, head }: RoleHealthOptions, names: readonly string[]): Promise<string[]> {
  const { rows } = await database.query<ConsumerRow>(
    `SELECT name, position, error, extract(epoch FROM clock_timestamp() - updated_at)::float8 AS idle
     FROM checkpoints WHERE name = ANY ($1)`,
    [names],
  );
  return names.flatMap((name) => {
    const row = rows.find((checkpoint) => checkpoint.name === name);
    if (!row) return [`${name} has never run`];
    if (row.error !== null) return [`${name} has stopped: ${row.error}`];
    return head > row.position && row.idle > STALLED_AFTER ? [`${name}${NO_MOVE}`] : [];
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
