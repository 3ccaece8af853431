import { setTimeout as delay } from 'node:timers/promises';
import { StaleExecutionError } from '../commands/job-decider.ts';
import type { JobCommand } from '../commands/job-decider.ts';
import { AppError, errorMessage, UnavailableError } from '../errors.ts';
import { WrongExpectedRevisionError } from '../events/event-store.ts';
import type { Job } from '../events/job.ts';
import type { Logger } from '../logger.ts';
import type { ExecutionOutcome } from './execution.ts';

export interface ReportOptions {
  readonly executionId: string;
  /** The job as its start left it. */
  readonly job: Job;
  /** Base of the wait before the next attempt, in milliseconds. */
  readonly backoffMs: number;
  readonly send: (command: JobCommand, known?: Job) => Promise<Job>;
  readonly logger: Logger;
}

/** How long the outcome of a handler is offered to an event store that does not answer. */
const REPORT_FOR_MS = 60_000;
const RETRY_MS = { first: 50, most: 2_000 };

/**
 * Tells the job how its execution ended, again and again while the event store is away. An outcome the job refuses
 * for what it is (a result too large) fails the attempt instead.
 * @returns false when the execution is no longer the job's current one
 * @throws UnavailableError after a minute; what the command throws for another reason
 */
export async function reportOutcome(outcome: ExecutionOutcome, options: ReportOptions): Promise<boolean> {
  const { job, send, logger } = options;
  let command = commandFor(outcome, options);
  let known: Job | undefined = job;
  const deadline = performance.now() + REPORT_FOR_MS;
  for (let wait = RETRY_MS.first; ; wait = Math.min(wait * 2, RETRY_MS.most)) {
    try {
      await send(command, known);
      return true;
    } catch (error) {
      // Also after an answer that was lost: the first try has ended the execution then.
      if (error instanceof StaleExecutionError) {
        logger.warn(
          { command: command.type },
          'The job goes on without this execution; its outcome is dropped',
        );
        return false;
      }
      known = undefined;
      if (!isPassing(error)) {
        if (command.type !== 'CompleteJob' || !(error instanceof AppError)) throw error;
        command = commandFor({ kind: 'failed', error: errorMessage(error), retryable: false }, options);
        continue;
      }
      if (performance.now() > deadline) throw error;
      logger.warn({ reason: errorMessage(error) }, 'Outcome not stored yet; trying again');
      await delay(wait * (0.5 + Math.random() / 2));
    }
  }
}

/** Whether the error says nothing about the outcome: the store was away, or others kept writing to the job. */
function isPassing(error: unknown): boolean {
  return error instanceof UnavailableError || error instanceof WrongExpectedRevisionError;
}

function commandFor(outcome: ExecutionOutcome, { executionId, backoffMs }: ReportOptions): JobCommand {
  switch (outcome.kind) {
    case 'completed':
      return { type: 'CompleteJob', executionId, result: outcome.result };
    case 'failed': {
      const { error, retryable } = outcome;
      return { type: 'FailAttempt', executionId, error, retryable, backoffMs };
    }
    case 'stopped':
      return { type: 'ReleaseJob', executionId, reason: outcome.reason };
    default:
      return outcome satisfies never;
  }
}
