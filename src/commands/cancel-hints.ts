import type { Bus } from '../bus.ts';
import type { HandleJobCommand } from './handle-command.ts';

/** The same commands; whoever runs a job that is to be cancelled is told at once, as far as the bus carries. */
export function hintingCancels(handle: HandleJobCommand, bus: Pick<Bus, 'publish'>): HandleJobCommand {
  return async (jobId, ...rest) => {
    const outcome = await handle(jobId, ...rest);
    for (const event of outcome.events) {
      if (event.type !== 'JobCancelRequested') continue;
      bus.publish('cancel-requested', { jobId, executionId: event.data.executionId });
    }
    return outcome;
  };
}
