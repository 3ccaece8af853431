import { isAborted, sleep } from '../waiting.ts';
import type { Bus } from '../bus.ts';
import { loadJob } from '../commands/handle-command.ts';
import type { Queryable } from '../database.ts';
import { errorMessage } from '../errors.ts';
import type { EventStore } from '../events/event-store.ts';
import type { Logger } from '../logger.ts';
import { startLoop } from '../service.ts';
import type { Service } from '../service.ts';
import { StoppedError } from './execution.ts';
import type { Execution } from './execution.ts';

export interface CancelWatchOptions {
  readonly store: EventStore;
  readonly database: Queryable;
  /** Those that run in this process now. */
  readonly executions: ReadonlySet<Execution>;
  /** Brings word of a cancel at once; without it the next look does. */
  readonly bus?: Pick<Bus, 'subscribe'> | undefined;
  readonly logger: Logger;
  /** Milliseconds between two looks. Default: 2,000. */
  readonly lookEveryMs?: number | undefined;
}

const LOOK_EVERY_MS = 2_000;

interface WorkRow {
  readonly kind: string;
  readonly job_id: string;
  readonly round: number;
  readonly attempt: number;
}

/**
 * Stops executions whose jobs are to be cancelled, and those whose jobs have ended without them, by the finisher. What is wanted
 * of a job says its stream; `open_work` only says in one statement which streams are worth reading.
 */
export function startCancelWatch(options: CancelWatchOptions): Service {
  const { store, database, executions, bus, logger, lookEveryMs = LOOK_EVERY_MS } = options;

  async function check(execution: Execution): Promise<void> {
    try {
      const job = await loadJob(store, execution.job.id, execution.job);
      if (job?.execution?.id !== execution.id) {
        execution.stop(new StoppedError('the job goes on without this execution'));
      } else if (job.cancelRequested) {
        execution.stop(new StoppedError('the job is cancelled'));
      }
    } catch (error) {
      logger.warn(
        { jobId: execution.job.id, reason: errorMessage(error) },
        'Cannot tell whether a job is cancelled',
      );
    }
  }

  async function look(): Promise<void> {
    const running = [...executions];
    if (running.length === 0) return;
    const { rows } = await database.query<WorkRow>(
      `SELECT kind, job_id, round, attempt FROM open_work
       WHERE job_id = ANY($1::uuid[]) AND kind IN ('job', 'cancel-finisher')`,
      [running.map(({ job }) => job.id)],
    );
    await Promise.all(running.filter((execution) => isSuspicious(execution, rows)).map(check));
  }

  const leave = bus?.subscribe('cancel-requested', ({ executionId }) => {
    for (const execution of executions) if (execution.id === executionId) void check(execution);
  });
  const loop = startLoop(async (signal) => {
    while (!signal.aborted) {
      await sleep(lookEveryMs, signal);
      if (isAborted(signal)) return;
      await look().catch((error: unknown) =>
        logger.warn({ reason: errorMessage(error) }, 'Cannot look for cancelled jobs; trying again'),
      );
    }
  });
  return {
    async stop() {
      leave?.();
      await loop.stop();
    },
  };
}

/** A cancel waits for it, or the work it does is not open any more. */
function isSuspicious({ job: { id, round, attempt } }: Execution, rows: readonly WorkRow[]): boolean {
  const own = rows.filter((row) => row.job_id === id && row.round === round);
  return (
    !own.some((row) => row.kind === 'job' && row.attempt === attempt) || own.some((row) => row.kind !== 'job')
  );
}
