import { AppError } from '../errors.ts';
import { decodeEvent, isJobEvent, UndecodableEventError } from '../events/codec.ts';
import { readStream } from '../events/event-store.ts';
import type { EventStore, RecordedEvent } from '../events/event-store.ts';
import { evolveJob, jobLogStream, jobStream } from '../events/job.ts';
import type { Job } from '../events/job.ts';
import { readTrail } from './job-trail.ts';
import type { TrailPage, TrailPageOptions } from './job-trail.ts';

/** A point in a job's life: after everything that had happened by a time (milliseconds since the epoch), or after one event. */
export type Moment = { readonly at: number } | { readonly revision: number };

/** The job exists, but not at this moment. */
export class JobStateNotFoundError extends AppError {
  constructor(message: string, data: Record<string, unknown>) {
    super('JOB_STATE_NOT_FOUND', message, data);
  }
}

/** A place that the job has not come to: made up, or of a time before the store was restored from an older backup. */
export class TrailPlaceError extends AppError {
  constructor(jobId: string) {
    super('TRAIL_PLACE_UNKNOWN', `Job ${jobId} has not come to this place`, { jobId });
  }
}

/** The past of jobs, read from their streams alone, for those who own them. */
export interface JobHistory {
  /** See {@link loadJobAt}. */
  jobAt(jobId: string, userId: string, moment: Moment): Promise<Job | null>;
  /**
   * See {@link readTrail}.
   * @returns null when there is no such job, or it is someone else's
   * @throws TrailPlaceError when the job has not come to the place that was asked for
   */
  trail(jobId: string, userId: string, options: TrailPageOptions): Promise<TrailPage | null>;
}

export function createJobHistory(store: EventStore): JobHistory {
  return {
    jobAt: (jobId, userId, moment) => loadJobAt(store, jobId, moment, userId),
    async trail(jobId, userId, options) {
      const { job, log, webhooks } = options.from;
      const [owner, ...known] = await Promise.all([
        ownerOf(store, jobId),
        reaches(store, jobStream(jobId), job),
        reaches(store, jobLogStream(jobId), log),
      ]);
      if (owner !== userId) return null;
      // Each round has an end in the job's own stream: nobody makes us look for webhooks of rounds that never were.
      if (known.includes(false) || webhooks.length > job) throw new TrailPlaceError(jobId);
      return readTrail(store, jobId, options);
    },
  };
}

/** Whose job it is, by its first event; null when there is no such job. @throws UndecodableEventError */
async function ownerOf(store: EventStore, jobId: string): Promise<string | null> {
  const [first] = await store.read(jobStream(jobId), { limit: 1 });
  if (!first) return null;
  const event = decodeEvent(first);
  return event.type === 'JobCreated' ? event.data.userId : null;
}

/** Whether a stream has so many events. */
async function reaches(store: EventStore, stream: string, length: number): Promise<boolean> {
  return length === 0 || (await store.read(stream, { from: length - 1, limit: 1 })).length > 0;
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
