import { isDeepStrictEqual } from 'node:util';
import type { JobEvent } from '../../../src/events/job.ts';
import { WEBHOOK_EVENTS } from '../history.ts';
import type { Submission } from '../history.ts';
import type { Streams } from './stored.ts';
import type { Violation } from './violation.ts';

type Created = Extract<JobEvent, { type: 'JobCreated' }>['data'];

/**
 * What was acknowledged is there, once and as it was asked for; what was not carried out is not there; what nobody can say is there
 * once at most.
 */
export function checkSubmissions(submissions: readonly Submission[], streams: Streams): Violation[] {
  const created = new Map<unknown, Created[]>();
  for (const [first] of streams.values()) {
    if (first?.event.type !== 'JobCreated') continue;
    const { n } = first.event.data.payload;
    created.set(n, [...(created.get(n) ?? []), first.event.data]);
  }
  const violations = submissions.flatMap((submission) => {
    const jobs = created.get(submission.n) ?? [];
    created.delete(submission.n);
    return checkSubmission(submission, jobs);
  });
  const uninvited = [...created.values()].flat();
  return [
    ...violations,
    ...uninvited.map(({ jobId }) => ({ promise: 'no job comes from nowhere', particulars: `job ${jobId}` })),
  ];
}

function checkSubmission(submission: Submission, jobs: readonly Created[]): Violation[] {
  const { n, jobId, outcomes, idempotencyKey } = submission;
  const told = `submission ${n} (${outcomes.join(', ')}; key ${idempotencyKey ?? 'none'}; job ${jobId ?? 'unknown'})`;
  const found = jobs.map((job) => job.jobId).join(' ') || 'nothing';
  const violation = (promise: string): Violation => ({ promise, particulars: `${told}: ${found} is there` });
  if (jobId !== null && !jobs.some((job) => job.jobId === jobId))
    return [violation('no acknowledged job is lost')];
  const carriedOut = outcomes.filter((outcome) => outcome !== 'failed').length;
  const most = idempotencyKey === null ? carriedOut : Math.min(carriedOut, 1);
  if (jobs.length > most) {
    return [violation(most === 0 ? 'what was refused is not done' : 'a submission makes one job at most')];
  }
  return jobs
    .filter((job) => !isAsAsked(job, submission))
    .map(() => violation('a job is what was asked for'));
}

function isAsAsked(job: Created, { userId, type, payload, webhookUrl }: Submission): boolean {
  const { userId: owner, type: found, payload: stored, webhookUrl: url, webhookEvents } = job;
  const tells = webhookUrl === null || isDeepStrictEqual(webhookEvents, [...WEBHOOK_EVENTS]);
  return (
    owner === userId && found === type && url === webhookUrl && tells && isDeepStrictEqual(stored, payload)
  );
}
