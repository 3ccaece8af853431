import fc from 'fast-check';
import { decideJob } from '../../src/commands/job-decider.ts';
import type { JobCommand } from '../../src/commands/job-decider.ts';
import { decideWebhook } from '../../src/commands/webhook-decider.ts';
import type { WebhookCommand } from '../../src/commands/webhook-decider.ts';
import { AppError } from '../../src/errors.ts';
import { decodeEvent, encodeEvent } from '../../src/events/codec.ts';
import type { DomainEvent } from '../../src/events/codec.ts';
import type { PositionedEvent } from '../../src/events/event-store.ts';
import { evolveJob, jobLogStream, jobStream } from '../../src/events/job.ts';
import type { Job } from '../../src/events/job.ts';
import { evolveWebhook, webhookId, webhookStream } from '../../src/events/webhook.ts';
import type { Webhook } from '../../src/events/webhook.ts';
import type { ConsumedEvent } from '../../src/subscriptions/consumer.ts';
import { USER } from './job-spec.ts';

const START = Date.parse('2026-05-19T10:00:00.000Z');

/** A UUID of version 7's form that follows from two numbers. */
export const uuid = (kind: number, n: number): string =>
  `0196e7d2-${kind.toString(16).padStart(4, '0')}-7000-8000-${n.toString(16).padStart(12, '0')}`;

const jobIdOf = (n: number): string => uuid(1, n);

/** One thing that happens in a history: to which of its jobs, what, and after how many milliseconds. */
interface Happening {
  readonly job: number;
  readonly what: (typeof WHAT)[number];
  readonly flag: boolean;
  readonly text: string;
  readonly elapsed: number;
}

const WHAT = [
  'start',
  'start',
  'takeover',
  'complete',
  'fail',
  'fail',
  'release',
  'cancel',
  'finish',
  'retry',
  'log',
  'progress',
  'deliver',
  'deliver',
  'deliver',
  'redeliver',
] as const;

const happening = (what: readonly Happening['what'][]): fc.Arbitrary<Happening> =>
  fc.record({
    job: fc.nat(3),
    what: fc.constantFrom(...what),
    flag: fc.boolean(),
    text: fc.oneof(fc.string({ maxLength: 12 }), fc.constant('a\u0000b')),
    elapsed: fc.nat(3_000),
  });

/** Histories of up to four jobs that the decider allows, as a subscription to the whole store hands them out. */
export const history: fc.Arbitrary<PositionedEvent[]> = fc
  .array(happening(WHAT), { minLength: 1, maxLength: 60, size: 'max' })
  .map(play);

/** The same, but long ones: several rounds and attempts, since what ends a job for good is rare. */
export const longHistory: fc.Arbitrary<PositionedEvent[]> = fc
  .array(happening([...WHAT, ...WHAT, ...WHAT].filter((what, n) => what !== 'complete' || n < WHAT.length)), {
    minLength: 100,
    maxLength: 240,
    size: 'max',
  })
  .map(play);

/** The same events cut into batches at random places. */
export const historyInBatches: fc.Arbitrary<PositionedEvent[][]> = fc
  .tuple(history, fc.infiniteStream(fc.integer({ min: 1, max: 12 })))
  .map(([events, sizes]) => {
    const batches: PositionedEvent[][] = [];
    for (let from = 0; from < events.length;) {
      const size = sizes.next().value as number;
      batches.push(events.slice(from, from + size));
      from += size;
    }
    return batches;
  });

export const consumed = (recorded: PositionedEvent): ConsumedEvent => ({
  recorded,
  event: decodeEvent(recorded),
});

/** What the job streams among some events fold to, by job id. */
export function foldJobs(events: readonly PositionedEvent[]): Map<string, Job> {
  const jobs = new Map<string, Job>();
  for (const recorded of events) {
    if (!recorded.stream.startsWith('job-')) continue;
    const id = recorded.stream.slice('job-'.length);
    const event = decodeEvent(recorded) as Parameters<typeof evolveJob>[1]['event'];
    const { occurredAt } = recorded.metadata;
    jobs.set(id, evolveJob(jobs.get(id) ?? null, { event, occurredAt, revision: recorded.revision }));
  }
  return jobs;
}

/** What the webhook streams among some events fold to, by webhook id. */
export function foldWebhooks(events: readonly PositionedEvent[]): Map<string, Webhook> {
  const webhooks = new Map<string, Webhook>();
  for (const recorded of events) {
    if (!recorded.stream.startsWith('webhook-')) continue;
    const id = recorded.stream.slice('webhook-'.length);
    const event = decodeEvent(recorded) as Parameters<typeof evolveWebhook>[1]['event'];
    const { occurredAt } = recorded.metadata;
    webhooks.set(
      id,
      evolveWebhook(webhooks.get(id) ?? null, { event, occurredAt, revision: recorded.revision }),
    );
  }
  return webhooks;
}

function play(happenings: readonly Happening[]): PositionedEvent[] {
  const events: PositionedEvent[] = [];
  const jobs = new Map<string, Job>();
  const webhooks = new Map<string, Webhook>();
  /** The last end of each job that a webhook was to tell of. */
  const ends = new Map<string, number>();
  const revisions = new Map<string, number>();
  let now = START;

  function record(stream: string, event: DomainEvent): PositionedEvent {
    const revision = (revisions.get(stream) ?? -1) + 1;
    revisions.set(stream, revision);
    const n = events.length;
    const encoded = encodeEvent(event, uuid(2, n), {
      correlationId: 'request',
      causationId: 'request',
      actor: { kind: 'system', id: 'test' },
      occurredAt: iso(now),
    });
    // Holes in the positions, as a store of many streams has them.
    const recorded = { ...encoded, stream, revision, position: BigInt(n * 3) };
    events.push(recorded);
    return recorded;
  }

  for (const [n, { job: index, what, flag, text, elapsed }] of happenings.entries()) {
    now += elapsed;
    const jobId = jobIdOf(index);
    const job = jobs.get(jobId) ?? null;
    if (job?.execution && (what === 'log' || what === 'progress')) {
      const origin = { jobId, round: job.round, attempt: job.attempt, executionId: job.execution.id };
      record(
        jobLogStream(jobId),
        what === 'log'
          ? { type: 'JobLogged', data: { ...origin, message: text } }
          : { type: 'JobProgressed', data: { ...origin, percent: elapsed % 101, note: flag ? text : null } },
      );
      continue;
    }
    if (what === 'deliver' || what === 'redeliver') {
      const round = ends.get(jobId);
      if (round === undefined) continue;
      const id = webhookId(jobId, round);
      const webhook = webhooks.get(id) ?? null;
      for (const event of allowed(() =>
        decideWebhook(webhook, deliver(jobId, round, what, flag && elapsed % 3 === 0, webhook), iso(now)),
      )) {
        const { revision, metadata } = record(webhookStream(id), event);
        const before = webhooks.get(id) ?? null;
        webhooks.set(id, evolveWebhook(before, { event, occurredAt: metadata.occurredAt, revision }));
      }
      continue;
    }
    const command = job === null ? create(jobId, flag, now) : commandFor(job, what, flag, text, n);
    for (const event of allowed(() => decideJob(job, command, iso(now)))) {
      if ('webhook' in event.data && event.data.webhook) ends.set(jobId, event.data.round);
      const { revision, metadata } = record(jobStream(jobId), event);
      const before = jobs.get(jobId) ?? null;
      jobs.set(jobId, evolveJob(before, { event, occurredAt: metadata.occurredAt, revision }));
    }
  }
  return events;
}

const iso = (ms: number): string => new Date(ms).toISOString();

/** What is decided; nothing when the command is refused. */
function allowed<Event>(decide: () => Event[]): Event[] {
  try {
    return decide();
  } catch (error) {
    if (error instanceof AppError) return [];
    throw error;
  }
}

function deliver(
  jobId: string,
  round: number,
  what: 'deliver' | 'redeliver',
  success: boolean,
  webhook: Webhook | null,
): WebhookCommand {
  if (what === 'redeliver') return { type: 'RequestRedelivery', wanted: true };
  return {
    type: 'RecordWebhookAttempt',
    jobId,
    round,
    url: 'https://example.com/hook',
    body: '{}',
    attempt: (webhook?.attempts ?? 0) + 1,
    statusCode: success ? 200 : 500,
    success,
    error: success ? null : 'Internal Server Error',
    backoffMs: 100,
  };
}

function create(jobId: string, flag: boolean, now: number): JobCommand {
  return {
    type: 'CreateJob',
    jobId,
    userId: USER,
    jobType: flag ? 'send-email' : 'other',
    payload: { to: 'a@example.com', '10': [1, null] },
    webhookUrl: flag ? 'https://example.com/hook' : null,
    webhookEvents: flag ? ['DONE', 'CANCELLED'] : ['DONE', 'FAILED'],
    maxAttempts: flag ? 2 : null,
    timeoutMs: flag ? 5_000 : null,
    runAt: flag ? new Date(now + 1_000).toISOString() : null,
    requestHash: flag ? 'a'.repeat(64) : null,
  };
}

function commandFor(
  job: Job,
  what: Exclude<Happening['what'], 'deliver' | 'redeliver'>,
  flag: boolean,
  text: string,
  n: number,
): JobCommand {
  const executionId = job.execution?.id ?? uuid(3, 0);
  const { round, attempt } = job;
  switch (what) {
    case 'start':
    case 'takeover':
      return {
        type: 'StartJob',
        round,
        attempt,
        executionId: uuid(3, n + 1),
        workerId: flag ? 'worker-1' : 'worker-2',
        heartbeat: n,
        supersedes: what === 'takeover' ? executionId : null,
        defaultMaxAttempts: 3,
        backoffMs: 100,
      };
    case 'complete':
    case 'log':
    case 'progress':
      return { type: 'CompleteJob', executionId, result: flag ? { sent: true, note: text } : null };
    case 'fail':
      return { type: 'FailAttempt', executionId, error: text, retryable: flag, backoffMs: 100 };
    case 'release':
      return { type: 'ReleaseJob', executionId, reason: text };
    case 'cancel':
      return { type: 'CancelJob', userId: USER, force: flag };
    case 'finish':
      return { type: 'FinishCancel', round };
    case 'retry':
      return { type: 'RetryJob', userId: USER };
    default:
      return what satisfies never;
  }
}
