import { AppError } from '../errors.ts';
import { decodeEvent, isJobEvent, UndecodableEventError } from '../events/codec.ts';
import { readStream } from '../events/event-store.ts';
import type { EventStore, RecordedEvent } from '../events/event-store.ts';
import { evolveJob, jobStream } from '../events/job.ts';
import type { Job } from '../events/job.ts';

/** A point in a job's life: after everything that had happened by a time (milliseconds since the epoch), or after one event. */
export type Moment = { readonly at: number } | { readonly revision: number };

/** The job exists, but not at this moment. */
export class JobStateNotFoundError extends AppError {
  constructor(message: string, data: Record<string, unknown>) {
    super('JOB_STATE_NOT_FOUND', message, data);
  }
}

/**
 * A job as it was, folded from its stream and nothing else. A time that is yet to come means the newest state there is.
 * @param owner only this user's job is found; null finds anybody's
 * @returns null when there is no such job, or it is someone else's
 * @throws JobStateNotFoundError before the job's creation, or beyond its newest revision
 */
export async function loadJobAt(
  store: EventStore,
  jobId: string,
  moment: Moment,
  owner: string | null,
): Promise<Job | null> {
  let job: Job | null = null;
  // Nothing behind the moment is decoded: an event that this build cannot read leaves the past before it readable.
  for await (const recorded of readStream(store, jobStream(jobId))) {
    if (job !== null && isAfter(recorded, moment)) return job;
    job = nextState(job, recorded);
    if (owner !== null && job.userId !== owner) return null;
    if (isAfter(recorded, moment)) throw notYetCreated(job, moment);
  }
  if (job !== null && 'revision' in moment && job.revision < moment.revision) {
    throw new JobStateNotFoundError(
      `The job has no revision ${moment.revision}: it is at revision ${job.revision}`,
      { revision: job.revision, wanted: moment.revision },
    );
  }
  return job;
}

/** Times never run backwards within a job's stream. */
function isAfter({ revision, metadata }: RecordedEvent, moment: Moment): boolean {
  return 'at' in moment ? Date.parse(metadata.occurredAt) > moment.at : revision > moment.revision;
}

function nextState(job: Job | null, recorded: RecordedEvent): Job {
  const event = decodeEvent(recorded);
  if (!isJobEvent(event))
    throw new UndecodableEventError(recorded, `it does not belong into ${recorded.stream}`);
  const { revision, metadata } = recorded;
  return evolveJob(job, { event, occurredAt: metadata.occurredAt, revision });
}

function notYetCreated({ createdAt }: Job, moment: Moment): JobStateNotFoundError {
  const at = 'at' in moment ? new Date(moment.at).toISOString() : null;
  return new JobStateNotFoundError(`The job did not exist yet at ${at}: it was created at ${createdAt}`, {
    at,
    createdAt,
  });
}
