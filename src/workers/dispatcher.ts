import { sleep } from '../waiting.ts';
import { errorMessage } from '../errors.ts';
import type { HandleJobCommand } from '../commands/handle-command.ts';
import type { Database } from '../database.ts';
import type { EventStore } from '../events/event-store.ts';
import { JOB_PREFIX } from '../events/job.ts';
import { WEBHOOK_PREFIX } from '../events/webhook.ts';
import type { Logger } from '../logger.ts';
import { startLoop } from '../service.ts';
import type { Service } from '../service.ts';
import { consume } from '../subscriptions/consumer.ts';
import type { ConsumedEvent, Consumer } from '../subscriptions/consumer.ts';
import { leadTogether, runAsLeader } from '../subscriptions/leadership.ts';
import { finishCancels } from './cancel-finisher.ts';
import { writesOf } from './open-work.ts';
import { reconcile } from './reconciler.ts';
import { workChanges } from './work-changes.ts';
import type { WorkEntry, WorkQueue } from './work-queue.ts';

export interface DispatcherOptions {
  readonly store: EventStore;
  readonly database: Database;
  readonly queue: WorkQueue;
  readonly commands: HandleJobCommand;
  readonly logger: Logger;
  readonly holder: string;
  /** Times of the reconciler, see there. */
  readonly intervalMs?: number;
  readonly settledMs?: number;
}

/**
 * Turns events into queue entries while this process holds the `dispatcher` lease, and puts back what the queue has lost.
 * The only place that does: a rebuild of a read model never passes through here.
 */
export function startDispatcher(options: DispatcherOptions): Service {
  return startLoop((signal) =>
    runAsLeader({ ...options, name: 'dispatcher', signal }, (term) =>
      leadTogether(term, [
        (leading) =>
          consume(dispatcherConsumer({ ...options, signal: leading }), { ...options, signal: leading }),
        (leading) => reconcile({ ...options, signal: leading }),
        (leading) => finishCancels({ ...options, signal: leading }),
      ]),
    ),
  );
}

function dispatcherConsumer(options: DispatcherOptions & { signal: AbortSignal }): Consumer {
  let enqueued: Promise<void> = Promise.resolve();
  return {
    name: 'dispatcher',
    prefixes: [JOB_PREFIX, WEBHOOK_PREFIX],
    ignores: ['JobStarted', 'JobReleased'],
    // An entry has one id however often it is added, and who gets it asks the stream what to do: it need not wait for the commit.
    received(events: readonly ConsumedEvent[]) {
      const { opened } = workChanges(events);
      const before = enqueued;
      if (opened.length > 0) enqueued = before.then(() => enqueue(opened, options));
    },
    apply: (events: readonly ConsumedEvent[]) => writesOf(workChanges(events)),
    committed: () => enqueued,
  };
}

/** Tries for a while; what is not in the queue then is found in `open_work` by the reconciler. */
async function enqueue(
  entries: readonly WorkEntry[],
  { queue, logger, signal }: DispatcherOptions & { signal: AbortSignal },
): Promise<void> {
  for (let wait = 100; ; wait *= 2) {
    try {
      await queue.add(entries);
      return;
    } catch (error) {
      logger.warn({ entries: entries.length, reason: errorMessage(error) }, 'Queue does not take entries');
      if (signal.aborted || wait > 1_000) return;
      await sleep(wait * (0.5 + Math.random() / 2), signal);
    }
  }
}
