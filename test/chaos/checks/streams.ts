import { isDeepStrictEqual } from 'node:util';
import { decideJob } from '../../../src/commands/job-decider.ts';
import type { JobCommand } from '../../../src/commands/job-decider.ts';
import { decideWebhook } from '../../../src/commands/webhook-decider.ts';
import type { WebhookCommand } from '../../../src/commands/webhook-decider.ts';
import { errorMessage } from '../../../src/errors.ts';
import { isJobEvent, isWebhookEvent } from '../../../src/events/codec.ts';
import { evolveJob } from '../../../src/events/job.ts';
import type { Job, JobEvent } from '../../../src/events/job.ts';
import { evolveWebhook } from '../../../src/events/webhook.ts';
import type { Webhook, WebhookEvent } from '../../../src/events/webhook.ts';
import type { StoredEvent, Streams } from './stored.ts';
import type { Violation } from './violation.ts';

/** What the deciders were told by the configuration. */
export interface Policy {
  readonly jobBackoffMs: number;
  readonly webhookBackoffMs: number;
}

const ENDS = ['JobCompleted', 'JobFailed', 'JobCancelled'];

/** Every stream is one that the deciders could have written, and every round of a job has ended exactly once. */
export function checkStreams(streams: Streams, policy: Policy): Violation[] {
  return [...streams].flatMap(([name, events]) => {
    const broken = [...brokenOrder(events), ...undecidable(events, policy)].map((particulars) => ({
      promise: 'every stream is valid for its decider',
      particulars: `${name} ${particulars}`,
    }));
    return [...broken, ...checkRounds(name, events)];
  });
}

/** Revisions count from 0 without holes, time does not run backwards. */
function brokenOrder(events: readonly StoredEvent[]): string[] {
  return events.flatMap(({ recorded }, index) => {
    const before = events[index - 1]?.recorded;
    if (recorded.revision !== index) return [`has revision ${recorded.revision} in place ${index}`];
    const ranBack = before !== undefined && before.metadata.occurredAt > recorded.metadata.occurredAt;
    return ranBack && !recorded.stream.startsWith('jobLog-') ? [`runs back in time at ${index}`] : [];
  });
}

function undecidable(events: readonly StoredEvent[], { jobBackoffMs, webhookBackoffMs }: Policy): string[] {
  let job: Job | null = null;
  let webhook: Webhook | null = null;
  const broken: string[] = [];
  for (const [index, { event, recorded }] of events.entries()) {
    const { revision, metadata } = recorded;
    const { occurredAt } = metadata;
    const decides = (commands: readonly (() => unknown[])[], place = 0): boolean =>
      commands.some((decide) => isDeepStrictEqual(attempted(decide)[place], event));
    try {
      if (isJobEvent(event)) {
        const [before, commands] = [job, commandsFor(event, job, jobBackoffMs)];
        if (!decides(commands.map((command) => () => decideJob(before, command, occurredAt))))
          broken.push(`has a ${event.type} at ${revision} that nothing can have led to`);
        job = evolveJob(job, { event, occurredAt, revision });
      } else if (isWebhookEvent(event)) {
        // An abandonment is decided together with the attempt before it.
        const decided = event.type === 'WebhookAbandoned' ? events[index - 1]?.event : event;
        const before = event.type === 'WebhookAbandoned' ? foldWebhook(events.slice(0, index - 1)) : webhook;
        const commands =
          decided && isWebhookEvent(decided) ? webhookCommandsFor(decided, webhookBackoffMs) : [];
        const place = event.type === 'WebhookAbandoned' ? 1 : 0;
        if (
          !decides(
            commands.map((command) => () => decideWebhook(before, command, occurredAt)),
            place,
          )
        )
          broken.push(`has a ${event.type} at ${revision} that nothing can have led to`);
        webhook = evolveWebhook(webhook, { event, occurredAt, revision });
      }
    } catch (error) {
      return [...broken, `does not fold at ${revision}: ${errorMessage(error)}`];
    }
  }
  return broken;
}

function attempted(decide: () => unknown[]): unknown[] {
  try {
    return decide();
  } catch {
    return [];
  }
}

function foldWebhook(events: readonly StoredEvent[]): Webhook | null {
  return events.reduce<Webhook | null>(
    (webhook, { event, recorded }) =>
      isWebhookEvent(event)
        ? evolveWebhook(webhook, {
            event,
            occurredAt: recorded.metadata.occurredAt,
            revision: recorded.revision,
          })
        : webhook,
    null,
  );
}

/** Every command that can lead to this event, whoever sent it. */
function commandsFor(event: JobEvent, job: Job | null, backoffMs: number): JobCommand[] {
  const current = job?.execution?.id ?? '';
  switch (event.type) {
    case 'JobCreated': {
      const { type: jobType, ...data } = event.data;
      return [{ ...data, type: 'CreateJob', jobType }];
    }
    case 'JobStarted': {
      const { maxAttempts, ...data } = event.data;
      const limits = { defaultMaxAttempts: maxAttempts, mostAttempts: maxAttempts, backoffMs };
      return [{ ...data, type: 'StartJob', ...limits }];
    }
    case 'JobReleased':
      return [{ type: 'ReleaseJob', executionId: event.data.executionId, reason: event.data.reason }];
    case 'JobCompleted':
      return [{ type: 'CompleteJob', executionId: event.data.executionId, result: event.data.result }];
    case 'JobAttemptFailed':
      return [failure(event.data, true, backoffMs), takeover(job, backoffMs)];
    case 'JobFailed':
      return [
        failure(event.data, event.data.reason === 'attempts-exhausted', backoffMs),
        takeover(job, backoffMs),
      ];
    case 'JobCancelRequested':
      return [{ type: 'CancelJob', userId: job?.userId ?? '', force: true }];
    case 'JobCancelled':
      return [
        { type: 'CancelJob', userId: job?.userId ?? '', force: false },
        { type: 'CompleteJob', executionId: current, result: null },
        { type: 'FinishCancel', round: event.data.round },
      ];
    case 'JobRetried':
      return [{ type: 'RetryJob', userId: job?.userId ?? '' }];
    default:
      return event satisfies never;
  }
}

function failure(
  { executionId, error }: { executionId: string; error: string },
  retryable: boolean,
  backoffMs: number,
): JobCommand {
  return { type: 'FailAttempt', executionId, error, retryable, backoffMs };
}

/** A start that finds that too many workers have died of this attempt. */
function takeover(job: Job | null, backoffMs: number): JobCommand {
  return {
    type: 'StartJob',
    round: job?.round ?? 0,
    attempt: job?.attempt ?? 0,
    executionId: '',
    workerId: '',
    heartbeat: 0,
    supersedes: job?.execution?.id ?? null,
    defaultMaxAttempts: 1,
    backoffMs,
  };
}

function webhookCommandsFor(event: WebhookEvent, backoffMs: number): WebhookCommand[] {
  if (event.type === 'WebhookRedeliveryRequested') return [{ type: 'RequestRedelivery', wanted: true }];
  if (event.type === 'WebhookAbandoned') return [];
  return [{ ...event.data, type: 'RecordWebhookAttempt', backoffMs }];
}

/** Each round, the first and one for each retry, has one end. */
function checkRounds(name: string, events: readonly StoredEvent[]): Violation[] {
  if (!name.startsWith('job-')) return [];
  const rounds = 1 + events.filter(({ event }) => event.type === 'JobRetried').length;
  return Array.from({ length: rounds }, (_, index) => index + 1).flatMap((round) => {
    const ends = events.filter(
      ({ event }) => ENDS.includes(event.type) && 'round' in event.data && event.data.round === round,
    );
    if (ends.length === 1) return [];
    const promise = ends.length === 0 ? 'every job ends' : 'a round ends exactly once';
    const found = ends.map(({ event, recorded }) => `${event.type}@${recorded.revision}`).join(' ');
    const last = events.at(-1)?.event.type ?? 'nothing';
    return [
      { promise, particulars: `${name} round ${round}: ${found || `no end, the last event is ${last}`}` },
    ];
  });
}
