import { isJobEvent, isWebhookEvent } from '../events/codec.ts';
import { JOB_PREFIX } from '../events/job.ts';
import type { JobEvent } from '../events/job.ts';
import type { WebhookEvent } from '../events/webhook.ts';
import type { ConsumedEvent } from '../subscriptions/consumer.ts';
import type { WorkChanges } from './open-work.ts';
import { workId } from './work-queue.ts';
import type { WorkEntry, WorkItem } from './work-queue.ts';

/**
 * How long a running handler has to obey a cancel request before its job is cancelled without it. A job that is asked to stop has
 * ended after 10 s: the rest is for the worker's heartbeat, which brings it the request after 2 s at the latest, and for the finisher.
 */
const CANCEL_GRACE_MS = 8_000;

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
    const { occurredAt } = recorded.metadata;
    if (isJobEvent(event))
      applyJobEvent(event, recorded.stream.slice(JOB_PREFIX.length), occurredAt, open, close);
    else if (isWebhookEvent(event)) applyWebhookEvent(event, occurredAt, open, close);
  }
  return { opened: [...opened.values()], closed: [...closed.values()] };
}

type Open = (item: WorkItem, dueAt: string) => void;
type Close = (item: WorkItem) => void;

function applyJobEvent(event: JobEvent, jobId: string, occurredAt: string, open: Open, close: Close): void {
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
    case 'JobCancelled': {
      const { round, attempt, webhook } = event.data;
      close({ kind: 'job', jobId, round, attempt });
      if (event.type === 'JobCancelled') close({ kind: 'cancel-finisher', jobId, round, attempt: 1 });
      if (webhook) open({ kind: 'webhook', jobId, round, attempt: 1 }, occurredAt);
      return;
    }
    // The entry of a job that started or was handed back stays open until its attempt has ended.
    case 'JobStarted':
    case 'JobReleased':
      return;
    default:
      event satisfies never;
  }
}

/** A delivery belongs to its round: whatever becomes of the job later, it goes on. */
function applyWebhookEvent(event: WebhookEvent, occurredAt: string, open: Open, close: Close): void {
  switch (event.type) {
    case 'WebhookAttempted': {
      const { jobId, round, attempt, nextAttemptAt } = event.data;
      close({ kind: 'webhook', jobId, round, attempt });
      if (nextAttemptAt !== null)
        open({ kind: 'webhook', jobId, round, attempt: attempt + 1 }, nextAttemptAt);
      return;
    }
    case 'WebhookRedeliveryRequested': {
      const { jobId, round, attempt } = event.data;
      open({ kind: 'webhook', jobId, round, attempt }, occurredAt);
      return;
    }
    case 'WebhookAbandoned':
      return;
    default:
      event satisfies never;
  }
}
