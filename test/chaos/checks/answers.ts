import { evolveJob } from '../../../src/events/job.ts';
import type { Job } from '../../../src/events/job.ts';
import { isJobEvent } from '../../../src/events/codec.ts';
import type { Client, User } from '../client.ts';
import type { Submission } from '../history.ts';
import type { StoredEvent, Streams } from './stored.ts';
import type { Violation } from './violation.ts';

const ASKED_AT_ONCE = 8;

/** Every api answers as the streams say. */
export async function checkAnswers(
  submissions: readonly Submission[],
  streams: Streams,
  { client, apis, users }: { client: Client; apis: readonly string[]; users: readonly User[] },
): Promise<Violation[]> {
  const tokens = new Map(users.map(({ id, token }) => [id, token]));
  const violations: Violation[] = [];
  const rest = submissions.values();
  async function ask({ jobId, userId }: Submission): Promise<void> {
    const job = fold(streams.get(`job-${jobId}`) ?? []);
    for (const api of apis) {
      const { answer } = await client.send('check', api, ['GET', `/api/jobs/${jobId}`], {
        token: tokens.get(userId) ?? '',
      });
      const view = answer?.body.data as Partial<Job> | undefined;
      const same = answer?.status === 200 && view?.status === job?.status && view?.round === job?.round;
      if (!same) {
        violations.push({
          promise: 'a job is shown as its events say',
          particulars: `job ${jobId} is ${job?.status} in round ${job?.round}, ${api} answers ${JSON.stringify(answer?.body ?? null)}`,
        });
      }
    }
  }
  async function askAll(): Promise<void> {
    for (const submission of rest) await ask(submission);
  }
  await Promise.all(Array.from({ length: ASKED_AT_ONCE }, askAll));
  return violations;
}

function fold(events: readonly StoredEvent[]): Job | null {
  return events.reduce<Job | null>(
    (job, { event, recorded }) =>
      isJobEvent(event)
        ? evolveJob(job, { event, occurredAt: recorded.metadata.occurredAt, revision: recorded.revision })
        : job,
    null,
  );
}
