import { isAborted, shared, sleep } from '../waiting.ts';
import type { Queryable } from '../database.ts';
import { errorMessage } from '../errors.ts';
import type { Execution } from '../events/job.ts';
import type { Logger } from '../logger.ts';
import { startLoop } from '../service.ts';
import type { Service } from '../service.ts';

const BEAT_MS = 2_000;
/** Beats without renewal after which a worker counts as dead, by the database's clock, and gives itself up before. */
const DEAD_AFTER = 5;
const GIVE_UP_AFTER = 4;
/** Rows of workers that are long gone are removed. */
const FORGET_AFTER_MS = 3_600_000;

/** Whether an execution may still be running. */
export type Liveness = 'running' | 'dead';

export interface HeartbeatOptions {
  readonly database: Queryable;
  readonly workerId: string;
  readonly handlerTypes: readonly string[];
  readonly logger: Logger;
  /** Called when the heartbeat could not be renewed for so long that others may take the executions over. */
  readonly onLost: () => void;
  /** Milliseconds between two heartbeats, the same for all workers. Default: 2,000. */
  readonly beatMs?: number;
}

/** This worker process's row in `workers`, and what the rows of the others say. */
export interface Heartbeat extends Service {
  /** Number of the last heartbeat composed. An execution added before is in every later one until it is removed. */
  readonly number: number;
  /** False from {@link HeartbeatOptions.onLost} to the next heartbeat that is written. */
  readonly alive: boolean;
  add(executionId: string): void;
  remove(executionId: string): void;
  /** @throws UnavailableError or the driver's error; nothing is proved then */
  liveness(execution: Execution): Promise<Liveness>;
  /** Whether a live worker announces the type. */
  isAnnounced(type: string): Promise<boolean>;
}

/** Writes the first heartbeat, then the next ones until it is stopped. @throws the driver's error when the first cannot be written */
export async function startHeartbeat(options: HeartbeatOptions): Promise<Heartbeat> {
  const { database, workerId, handlerTypes, logger, onLost, beatMs = BEAT_MS } = options;
  const deadAfterMs = DEAD_AFTER * beatMs;
  const executions = new Set<string>();
  let number = 0;
  let alive = true;

  async function beat(): Promise<void> {
    number++;
    await database.query(
      `INSERT INTO workers (worker_id, heartbeat, executions, handler_types, beat_at)
       VALUES ($1, $2, $3, $4, clock_timestamp())
       ON CONFLICT (worker_id) DO UPDATE SET heartbeat = excluded.heartbeat, executions = excluded.executions,
         beat_at = excluded.beat_at`,
      [workerId, number, [...executions], handlerTypes],
    );
  }

  // A timer of its own, so that a statement that hangs cannot hold back the alarm.
  let alarm: NodeJS.Timeout | undefined;
  function setAlarm(renewedAt: number): void {
    clearTimeout(alarm);
    const left = GIVE_UP_AFTER * beatMs - (performance.now() - renewedAt);
    // An answer that came too late renews nothing: others may have taken over before it.
    alive = left > 0;
    alarm = setTimeout(() => {
      alive = false;
      onLost();
    }, left);
  }

  async function run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(beatMs, signal);
      if (isAborted(signal)) break;
      // Measured from before the statement: the row is never older than we think.
      const asked = performance.now();
      try {
        await beat();
        setAlarm(asked);
      } catch (error) {
        logger.warn({ workerId, reason: errorMessage(error) }, 'Heartbeat not renewed');
      }
    }
    clearTimeout(alarm);
    await database
      .query('DELETE FROM workers WHERE worker_id = $1', [workerId])
      .catch((error: unknown) =>
        logger.warn({ workerId, reason: errorMessage(error) }, 'Heartbeat not removed'),
      );
  }

  const announcedTypes = shared(async (): Promise<ReadonlySet<string>> => {
    const { rows } = await database.query<{ type: string }>(
      `SELECT DISTINCT unnest(handler_types) AS type FROM workers WHERE beat_at > clock_timestamp() - $1 * interval '1 ms'`,
      [deadAfterMs],
    );
    return new Set(rows.map(({ type }) => type));
  });

  await database.query(`DELETE FROM workers WHERE beat_at < clock_timestamp() - $1 * interval '1 ms'`, [
    FORGET_AFTER_MS,
  ]);
  setAlarm(performance.now());
  await beat().catch((error: unknown) => {
    clearTimeout(alarm);
    throw error;
  });
  const loop = startLoop(run);

  return {
    get number() {
      return number;
    },
    get alive() {
      return alive;
    },
    add: (executionId) => void executions.add(executionId),
    remove: (executionId) => void executions.delete(executionId),
    async liveness(execution) {
      if (execution.workerId === workerId) return executions.has(execution.id) ? 'running' : 'dead';
      const { rows } = await database.query<{ running: boolean }>(
        `SELECT beat_at > clock_timestamp() - $4 * interval '1 ms'
            AND NOT (heartbeat > $3 AND NOT $2::uuid = ANY(executions)) AS running
         FROM workers WHERE worker_id = $1`,
        [execution.workerId, execution.id, execution.heartbeat, deadAfterMs],
      );
      return rows[0]?.running === true ? 'running' : 'dead';
    },
    isAnnounced: async (type) => (await announcedTypes()).has(type),
    stop: () => loop.stop(),
  };
}
