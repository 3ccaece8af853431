import { setTimeout as delay } from 'node:timers/promises';
import { loadJob } from '../commands/handle-command.ts';
import type { Database } from '../database.ts';
import { AppError, UnavailableError } from '../errors.ts';
import type { EventStore } from '../events/event-store.ts';
import type { Job } from '../events/job.ts';
import { within } from '../waiting.ts';
import { readPage } from './job-page.ts';
import type { JobListFilter } from './job-page.ts';
import { JOB_COLUMNS, jobFromRow } from './job-row.ts';
import type { JobRow } from './job-row.ts';

export interface JobQueries {
  /**
   * One job as new as its stream, however far behind the read model is: whoever had a command answered sees its effect.
   * @param userId only this user's job is found
   * @param minRevision waits until the stream is that long; default: no waiting
   * @returns null when there is no such job, or it is someone else's
   * @throws RevisionNotReachedError after 2 s without that revision; UnavailableError when the job was not even read by then; what the
   *   event store throws
   */
  get(jobId: string, userId: string, minRevision?: number): Promise<Job | null>;
  /**
   * One page of a user's jobs, newest first, from the read model: it may lag by the projector's few milliseconds.
   * @throws PageTooLargeError
   */
  list(userId: string, filter: JobListFilter): Promise<{ readonly jobs: Job[]; readonly total: number }>;
}

/** How long a read that asks for a revision takes at most, its own reading included. */
const MIN_REVISION_WAIT_MS = 2_000;
const LONGEST_PAUSE_MS = 200;

class RevisionNotReachedError extends AppError {
  constructor({ id, revision }: Job, wanted: number) {
    super('REVISION_NOT_REACHED', `The job is at revision ${revision}, not yet at ${wanted}`, {
      id,
      revision,
      wanted,
    });
  }
}

export function createJobQueries({ database, store }: { database: Database; store: EventStore }): JobQueries {
  async function load(jobId: string): Promise<Job | null> {
    const { rows } = await database.query<JobRow>(`SELECT ${JOB_COLUMNS} FROM jobs WHERE id = $1`, [jobId]);
    const [row] = rows;
    return loadJob(store, jobId, row ? jobFromRow(row) : null);
  }

  return {
    async get(jobId, userId, minRevision = 0) {
      const deadline = performance.now() + MIN_REVISION_WAIT_MS;
      const job = await (minRevision === 0
        ? load(jobId)
        : within(load(jobId), MIN_REVISION_WAIT_MS, notRead));
      if (job?.userId !== userId) return null;
      return job.revision >= minRevision ? job : await waitForRevision(store, job, minRevision, deadline);
    },

    list: (userId, filter) => readPage(database, userId, filter),
  };
}

function notRead(): UnavailableError {
  return new UnavailableError(
    'event store',
    'The job was not read in the time that its revision is waited for',
  );
}

/** Also when the event store falls silent meanwhile, the answer comes by the deadline. */
async function waitForRevision(
  store: EventStore,
  known: Job,
  minRevision: number,
  deadline: number,
): Promise<Job> {
  let job = known;
  const notReached = (): RevisionNotReachedError => new RevisionNotReachedError(job, minRevision);
  for (let pause = 10; performance.now() < deadline; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    await delay(pause * (0.5 + Math.random() / 2));
    const read = loadJob(store, job.id, job);
    job = (await within(read, deadline - performance.now(), notReached)) ?? job;
    if (job.revision >= minRevision) return job;
  }
  throw notReached();
}
