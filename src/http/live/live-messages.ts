import { isJobEvent } from '../../events/codec.ts';
import type { DomainEvent } from '../../events/codec.ts';
import type { RecordedEvent } from '../../events/event-store.ts';
import type { JobEvent, JobLogEvent } from '../../events/job.ts';

/** What live clients are told of. */
export type LiveEvent = JobEvent | JobLogEvent;

export function isLiveEvent(event: DomainEvent): event is LiveEvent {
  return isJobEvent(event) || event.type === 'JobLogged' || event.type === 'JobProgressed';
}

/** The job that an event of its own stream or of its log stream is about. */
export function jobIdOf({ stream }: { readonly stream: string }): string {
  return stream.slice(stream.indexOf('-') + 1);
}

/**
 * What a client is told of an event: the documented fields first, then ours. There is one message for each event of a
 * job's own stream, so that revisions arrive without gaps. Pure.
 */
export function liveMessage(
  event: LiveEvent,
  recorded: Pick<RecordedEvent, 'stream' | 'revision' | 'metadata'>,
): Readonly<Record<string, unknown>> {
  const place =
    event.type === 'JobLogged' || event.type === 'JobProgressed'
      ? { logRevision: recorded.revision }
      : { revision: recorded.revision };
  return { ...told(event, jobIdOf(recorded)), ...place, at: recorded.metadata.occurredAt };
}

function told(event: LiveEvent, jobId: string): Record<string, unknown> {
  switch (event.type) {
    case 'JobCreated':
      return {
        type: 'job:created',
        status: 'PENDING',
        jobId,
        jobType: event.data.type,
        runAt: event.data.runAt,
      };
    case 'JobStarted': {
      const { round, attempt, maxAttempts } = event.data;
      return { type: 'job:processing', status: 'PROCESSING', jobId, round, attempt, maxAttempts };
    }
    case 'JobReleased': {
      const { round, attempt, reason } = event.data;
      return { type: 'job:released', status: 'PENDING', reason, jobId, round, attempt };
    }
    case 'JobAttemptFailed': {
      const { round, attempt, error, retryAt } = event.data;
      return { type: 'job:retrying', status: 'PENDING', error, jobId, round, attempt, retryAt };
    }
    case 'JobCompleted': {
      const { round, attempt, result } = event.data;
      return { type: 'job:done', status: 'DONE', result, jobId, round, attempt };
    }
    case 'JobFailed': {
      const { round, attempt, error } = event.data;
      return { type: 'job:failed', status: 'FAILED', error, jobId, round, attempt };
    }
    case 'JobCancelRequested':
      return { type: 'job:cancel-requested', status: 'PROCESSING', jobId, round: event.data.round };
    case 'JobCancelled': {
      const { round, attempt } = event.data;
      return { type: 'job:cancelled', status: 'CANCELLED', jobId, round, attempt };
    }
    case 'JobRetried':
      return { type: 'job:resubmitted', status: 'PENDING', jobId, round: event.data.round };
    case 'JobLogged': {
      const { round, attempt, message } = event.data;
      return { type: 'job:log', message, jobId, round, attempt };
    }
    case 'JobProgressed': {
      const { round, attempt, percent, note } = event.data;
      return { type: 'job:progress', percent, note, jobId, round, attempt };
    }
    default:
      return event satisfies never;
  }
}
