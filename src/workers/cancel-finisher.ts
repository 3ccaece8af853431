import { sleep } from '../waiting.ts';
import { loadTracedJob } from '../commands/handle-command.ts';
import type { HandleJobCommand } from '../commands/handle-command.ts';
import type { Queryable } from '../database.ts';
import { errorMessage } from '../errors.ts';
import type { EventStore } from '../events/event-store.ts';
import type { Logger } from '../logger.ts';

export interface CancelFinisherOptions {
  readonly database: Queryable;
  readonly store: EventStore;
  readonly commands: HandleJobCommand;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

const LOOK_EVERY_MS = 500;
/** Cancels finished between two looks; what is left comes next. */
const MOST_AT_ONCE = 100;

interface DueRow {
  readonly job_id: string;
  readonly round: number;
}

/**
 * Ends jobs whose handlers have not obeyed a cancel request in time. The queue holds an entry for this too, but the worker that would
 * take it may be the one that died, or have every slot taken by handlers that do not obey.
 */
export async function finishCancels(options: CancelFinisherOptions): Promise<void> {
  const { database, logger, signal } = options;
  while (!signal.aborted) {
    try {
      const { rows } = await database.query<DueRow>(
        `SELECT job_id, round FROM open_work WHERE kind = 'cancel-finisher' AND due_at <= $1
         ORDER BY due_at LIMIT ${MOST_AT_ONCE}`,
        [new Date()],
      );
      for (const row of rows) await finish(row, options);
    } catch (error) {
      logger.warn({ reason: errorMessage(error) }, 'Cancels cannot be finished now; trying again');
    }
    await sleep(LOOK_EVERY_MS, signal);
  }
}

async function finish(
  { job_id, round }: DueRow,
  { store, commands, logger }: CancelFinisherOptions,
): Promise<void> {
  try {
    const traced = await loadTracedJob(store, job_id);
    // The row of one that has ended goes as soon as the dispatcher has seen the end.
    if (traced === null || !traced.job.cancelRequested) return;
    const { correlationId, lastEventId } = traced;
    const actor = { kind: 'system', id: 'cancel-finisher' } as const;
    await commands(
      job_id,
      { type: 'FinishCancel', round },
      { actor, correlationId, causationId: lastEventId },
      traced.job,
    );
  } catch (error) {
    // One that cannot be finished is not to hold up the others.
    logger.warn(
      { jobId: job_id, reason: errorMessage(error) },
      'A cancel cannot be finished now; trying again',
    );
  }
}
