import { v5 as uuidv5 } from 'uuid';
import { encodeEvent } from '../../src/events/codec.ts';
import type { DomainEvent } from '../../src/events/codec.ts';
import type { EventStore } from '../../src/events/event-store.ts';
import { jobLogStream, jobStream } from '../../src/events/job.ts';
import { webhookId, webhookStream } from '../../src/events/webhook.ts';

/** Jobs under way at the same time: their events are mixed in the order of the store. */
const UNDER_WAY = 250;
const USERS = 100;
const NAMESPACE = '5f1c5c7e-3a52-4f0e-9d55-9b0f2c1f6a10';
const START = Date.parse('2026-01-01T00:00:00.000Z');

interface Step {
  readonly stream: string;
  readonly event: DomainEvent;
}

/**
 * Writes the history of many jobs: each is created, started, reports and ends; every tenth fails once before, every fifth has a
 * webhook. The same number gives the same events.
 * @param from how many of them have been written already
 * @returns how many events it came to
 */
export async function writeJobs(store: EventStore, jobs: number, from = 0): Promise<number> {
  let events = 0;
  for (let first = from; first < jobs; first += UNDER_WAY) {
    const stories = Array.from({ length: Math.min(UNDER_WAY, jobs - first) }, (_, i) => storyOf(first + i));
    const revisions = new Map<string, number>();
    for (let step = 0; stories.some((story) => step < story.length); step++) {
      const appends = stories.flatMap((story, i) => {
        const next = story[step];
        if (!next) return [];
        const revision = revisions.get(next.stream) ?? -1;
        revisions.set(next.stream, revision + 1);
        events++;
        const job = first + i;
        const stored = encodeEvent(next.event, uuidv5(`event ${job} ${step}`, NAMESPACE), {
          correlationId: uuidv5(`request ${job}`, NAMESPACE),
          causationId: uuidv5(`cause ${job} ${step}`, NAMESPACE),
          actor: { kind: 'system', id: 'bench' },
          occurredAt: new Date(START + job * 1_000 + step * 200).toISOString(),
        });
        return [store.append(next.stream, [stored], { expected: revision < 0 ? 'no_stream' : revision })];
      });
      await Promise.all(appends);
    }
  }
  return events;
}

function storyOf(n: number): Step[] {
  const jobId = uuidv5(`job ${n}`, NAMESPACE);
  const userId = uuidv5(`user ${n % USERS}`, NAMESPACE);
  const type = ['send-email', 'generate-report', 'resize-image', 'sync-catalogue'][n % 4] ?? 'other';
  const fails = n % 10 === 0;
  const webhookUrl = n % 5 === 0 ? 'https://example.com/hooks/asyncly' : null;
  const payload = {
    to: `someone-${n}@example.com`,
    subject: `Order ${n} has been shipped`,
    items: [n, n + 1],
  };
  const job = jobStream(jobId);
  const log = jobLogStream(jobId);
  const steps: Step[] = [
    {
      stream: job,
      event: {
        type: 'JobCreated',
        data: {
          jobId,
          userId,
          type,
          payload,
          webhookUrl,
          webhookEvents: ['DONE', 'FAILED'],
          maxAttempts: null,
          timeoutMs: null,
          runAt: null,
          requestHash: null,
        },
      },
    },
  ];
  const attempts = fails ? 2 : 1;
  for (let attempt = 1; attempt <= attempts; attempt++) {
    const executionId = uuidv5(`execution ${n} ${attempt}`, NAMESPACE);
    const origin = { round: 1, attempt, executionId };
    steps.push({
      stream: job,
      event: {
        type: 'JobStarted',
        data: {
          ...origin,
          type,
          workerId: `worker-${n % 3}`,
          heartbeat: n,
          supersedes: null,
          maxAttempts: 3,
        },
      },
    });
    steps.push({
      stream: log,
      event: { type: 'JobLogged', data: { jobId, ...origin, message: `Working on ${payload.subject}` } },
    });
    steps.push({
      stream: log,
      event: { type: 'JobProgressed', data: { jobId, ...origin, percent: 50, note: 'half way' } },
    });
    steps.push(
      attempt < attempts
        ? {
            stream: job,
            event: {
              type: 'JobAttemptFailed',
              data: {
                ...origin,
                error: 'The other side closed the connection',
                retryAt: new Date(START + n * 1_000 + 1_500).toISOString(),
              },
            },
          }
        : {
            stream: job,
            event: {
              type: 'JobCompleted',
              data: { ...origin, result: { messageId: jobId, accepted: true }, webhook: webhookUrl !== null },
            },
          },
    );
  }
  if (webhookUrl !== null) {
    const body = JSON.stringify({
      event: 'job.completed',
      jobId,
      status: 'DONE',
      result: { messageId: jobId },
    });
    steps.push({
      stream: webhookStream(webhookId(jobId, 1)),
      event: {
        type: 'WebhookAttempted',
        data: {
          jobId,
          round: 1,
          url: webhookUrl,
          body,
          attempt: 1,
          statusCode: 200,
          success: true,
          error: null,
          nextAttemptAt: null,
        },
      },
    });
  }
  return steps;
}
