import { evolveJob } from '../../src/events/job.ts';
import type { Job, JobEvent } from '../../src/events/job.ts';
import { events, NOW } from './job-spec.ts';

/** The state of a new job, with what matters to the test. */
export function newJobState(given: Partial<Job> = {}): Job {
  return { ...evolveJob(null, { event: events.created(), occurredAt: NOW, revision: 0 }), ...given };
}

/** The state after one more event. */
export function after(job: Job, event: JobEvent): Job {
  return evolveJob(job, { event, occurredAt: NOW, revision: job.revision + 1 });
}
