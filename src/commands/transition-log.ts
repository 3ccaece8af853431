import type { Logger } from '../logger.ts';
import type { HandleJobCommand } from './handle-command.ts';

/** The same commands, with one log line for each event they write, whoever sends them. */
export function loggingTransitions(handle: HandleJobCommand, logger: Logger): HandleJobCommand {
  return async (jobId, command, context, known) => {
    const outcome = await handle(jobId, command, context, known);
    const { job, events } = outcome;
    const { round, attempt, status, revision } = job;
    const { correlationId, causationId, actor } = context;
    for (const { type } of events) {
      logger.info(
        { jobId, event: type, round, attempt, status, revision, correlationId, causationId, actor },
        'Job event',
      );
    }
    return outcome;
  };
}
