import { isJobEvent } from '../events/codec.ts';
import { JOB_PREFIX } from '../events/job.ts';
import type { JobEvent } from '../events/job.ts';
import type { ConsumedEvent } from '../subscriptions/consumer.ts';
import type { WorkChanges } from './open-work.ts';
import { workId } from './work-queue.ts';
import type { WorkEntry, WorkItem } from './work-queue.ts';

/** How long a running handler has to obey a cancel request before its job is cancelled without it. */
const CANCEL_GRACE_MS = 10_000;

/** What events mean for the work that is still to be done. Pure. */
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
