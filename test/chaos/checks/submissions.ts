import { isDeepStrictEqual } from 'node:util';
import type { JobEvent } from '../../../src/events/job.ts';
import type { Command, Submission } from '../history.ts';
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
  const { userId: owner, type: found, payload: stored, webhookUrl: url } = job;
  return owner === userId && found === type && url === webhookUrl && isDeepStrictEqual(stored, payload);
}

/** What was answered to cancels and retries is in the streams, and nothing else is. */
export function checkCommands(commands: readonly Command[], streams: Streams): Violation[] {
  const asked = new Map<string, Command[]>();
  for (const command of commands) asked.set(command.jobId, [...(asked.get(command.jobId) ?? []), command]);
  const jobs = new Map([...streams].filter(([name]) => name.startsWith('job-')));
  return [...jobs].flatMap(([name, events]) => {
    const jobId = name.slice('job-'.length);
    const own = asked.get(jobId) ?? [];
    const stored = (type: string): number => events.filter(({ event }) => event.type === type).length;
    const told = `job ${jobId} (${own.map(({ kind, outcome }) => `${kind} ${outcome}`).join(', ')})`;
    const between = (what: string, found: number, least: number, most: number): Violation[] =>
      found >= least && found <= most
        ? []
        : [{ promise: 'what was answered was done', particulars: `${told}: ${found} ${what}` }];
    const count = (kind: string, outcomes: readonly string[], requested?: boolean): number =>
      own.filter(
        (one) =>
          one.kind === kind &&
          outcomes.includes(one.outcome) &&
          (requested === undefined || one.requested === requested),
      ).length;
    return [
      ...between('retries', stored('JobRetried'), count('retry', ['ok']), count('retry', ['ok', 'unknown'])),
      ...between(
        'cancellations',
        stored('JobCancelled'),
        Math.min(count('cancel', ['ok'], false), 1),
        count('cancel', ['ok', 'unknown']),
      ),
    ];
  });
}
