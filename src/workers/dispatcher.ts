import { sleep } from '../abort.ts';
import { errorMessage } from '../errors.ts';
import type { Database, Queryable } from '../database.ts';
import { isJobEvent } from '../events/codec.ts';
import type { EventStore } from '../events/event-store.ts';
import { JOB_PREFIX } from '../events/job.ts';
import type { JobEvent } from '../events/job.ts';
import type { Logger } from '../logger.ts';
import { startLoop } from '../service.ts';
import type { Service } from '../service.ts';
import { consume } from '../subscriptions/consumer.ts';
import type { ConsumedEvent, Consumer } from '../subscriptions/consumer.ts';
import { leadTogether, runAsLeader } from '../subscriptions/leadership.ts';
import { writeChanges } from './open-work.ts';
import type { WorkChanges } from './open-work.ts';
import { reconcile } from './reconciler.ts';
import { workId } from './work-queue.ts';
import type { WorkEntry, WorkItem, WorkQueue } from './work-queue.ts';

/** How long a running handler has to obey a cancel request before its job is cancelled without it. */
const CANCEL_GRACE_MS = 10_000;

export interface DispatcherOptions {
  readonly store: EventStore;
  readonly database: Database;
  readonly queue: WorkQueue;
  readonly logger: Logger;
  readonly holder: string;
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
      ]),
    ),
  );
}

function dispatcherConsumer(options: DispatcherOptions & { signal: AbortSignal }): Consumer {
  const opened: WorkEntry[] = [];
  return {
    name: 'dispatcher',
    prefixes: [JOB_PREFIX],
    async apply(events: readonly ConsumedEvent[], tx: Queryable) {
      const changes = workChanges(events);
      await writeChanges(changes, tx);
      opened.push(...changes.opened);
    },
    async committed() {
      const entries = opened.splice(0);
      if (entries.length > 0) await enqueue(entries, options);
    },
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

/** What events mean for the work that is still to be done. Pure; exported for its tests. */
export function workChanges(events: readonly ConsumedEvent[]): WorkChanges {
  const opened = new Map<string, WorkEntry>();
  const closed = new Map<string, WorkItem>();
  const open = (item: WorkItem, dueAt: string): void => {
    opened.set(workId(item), { ...item, dueAt: new Date(dueAt) });
  };
  const close = (item: WorkItem): void => {
    if (!opened.delete(workId(item))) closed.set(workId(item), item);
  };
  for (const { event, recorded } of events) {
    if (!isJobEvent(event)) continue;
    const jobId = recorded.stream.slice(JOB_PREFIX.length);
    applyEvent(event, jobId, recorded.metadata.occurredAt, open, close);
  }
  return { opened: [...opened.values()], closed: [...closed.values()] };
}

function applyEvent(
  event: JobEvent,
  jobId: string,
  occurredAt: string,
  open: (item: WorkItem, dueAt: string) => void,
  close: (item: WorkItem) => void,
): void {
  switch (event.type) {
    case 'JobCreated':
      open({ kind: 'job', jobId, round: 1, attempt: 1 }, event.data.runAt ?? occurredAt);
      return;
    case 'JobRetried':
      open({ kind: 'job', jobId, round: event.data.round, attempt: 1 }, occurredAt);
      return;
    case 'JobAttemptFailed': {
      const { round, attempt, retryAt } = event.data;
      close({ kind: 'job', jobId, round, attempt });
      open({ kind: 'job', jobId, round, attempt: attempt + 1 }, retryAt);
      return;
    }
    case 'JobCancelRequested': {
      const dueAt = new Date(Date.parse(occurredAt) + CANCEL_GRACE_MS).toISOString();
      open({ kind: 'cancel-finisher', jobId, round: event.data.round, attempt: 1 }, dueAt);
      return;
    }
    case 'JobCompleted':
    case 'JobFailed':
      close({ kind: 'job', jobId, round: event.data.round, attempt: event.data.attempt });
      return;
    case 'JobCancelled':
      close({ kind: 'job', jobId, round: event.data.round, attempt: event.data.attempt });
      close({ kind: 'cancel-finisher', jobId, round: event.data.round, attempt: 1 });
      return;
    // The entry of a job that started or was handed back stays open until its attempt has ended.
    case 'JobStarted':
    case 'JobReleased':
      return;
    default:
      event satisfies never;
  }
}
