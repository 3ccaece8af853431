import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PositionedEvent } from '../../src/events/event-store.ts';
import { encodeEvent } from '../../src/events/codec.ts';
import { isTerminal, jobStream } from '../../src/events/job.ts';
import type { JobEvent } from '../../src/events/job.ts';
import { webhookId, webhookStream } from '../../src/events/webhook.ts';
import type { WebhookEvent } from '../../src/events/webhook.ts';
import { workChanges } from '../../src/workers/work-changes.ts';
import { workId } from '../../src/workers/work-queue.ts';
import type { WorkEntry } from '../../src/workers/work-queue.ts';
import { consumed, foldJobs, foldWebhooks, historyInBatches, uuid } from '../support/histories.ts';
import { events, JOB_ID, NOW } from '../support/job-spec.ts';
import { later, webhookEvents } from '../support/webhook-spec.ts';

const job = (round: number, attempt: number) => ({ kind: 'job' as const, jobId: JOB_ID, round, attempt });
const finisher = { kind: 'cancel-finisher' as const, jobId: JOB_ID, round: 1, attempt: 1 };
const at = (iso: string): { dueAt: Date } => ({ dueAt: new Date(iso) });

function record(event: JobEvent | WebhookEvent, n: number): PositionedEvent {
  const metadata = {
    correlationId: 'request',
    causationId: 'request',
    actor: { kind: 'system', id: 'test' },
    occurredAt: NOW,
  } as const;
  const encoded = encodeEvent(event, uuid(2, n), metadata);
  const stream = event.type.startsWith('Webhook') ? webhookStream(webhookId(JOB_ID, 1)) : jobStream(JOB_ID);
  return { ...encoded, stream, revision: n, position: BigInt(n) };
}

const changesOf = (...batch: (JobEvent | WebhookEvent)[]): ReturnType<typeof workChanges> =>
  workChanges(batch.map((event, n) => consumed(record(event, n))));

describe('workChanges', () => {
  it('opens the first attempt of a job that was created, at once or when it is to run', () => {
    expect(changesOf(events.created()).opened).toEqual([{ ...job(1, 1), ...at(NOW) }]);
    const runAt = '2026-05-20T00:00:00.000Z';
    expect(changesOf(events.created({ runAt })).opened).toEqual([{ ...job(1, 1), ...at(runAt) }]);
  });

  it('opens the first attempt of the next round at a retry', () => {
    expect(changesOf(events.retried(2))).toEqual({ opened: [{ ...job(2, 1), ...at(NOW) }], closed: [] });
  });

  it('closes a failed attempt and opens the next when it is due', () => {
    const retryAt = '2026-05-19T10:00:07.000Z';
    const changes = changesOf(events.attemptFailed(1, { attempt: 2, retryAt }));
    expect(changes).toEqual({ opened: [{ ...job(1, 3), ...at(retryAt) }], closed: [job(1, 2)] });
  });

  it.each([
    ['completed', events.completed(1, { attempt: 2 })],
    ['failed', events.failed(1, { attempt: 2 })],
  ])('closes the attempt of a job that %s', (_, event) => {
    expect(changesOf(event)).toEqual({ opened: [], closed: [job(1, 2)] });
  });

  it('opens a finisher 8 s after a cancel request, and closes it with the job', () => {
    const dueAt = '2026-05-19T10:00:08.000Z';
    expect(changesOf(events.cancelRequested(1))).toEqual({
      opened: [{ ...finisher, ...at(dueAt) }],
      closed: [],
    });
    expect(changesOf(events.cancelled())).toEqual({ opened: [], closed: [job(1, 1), finisher] });
  });

  it.each([
    ['started', events.started(1)],
    ['released', events.released(1)],
  ])('leaves open what was %s: its attempt has not ended', (_, event) => {
    expect(changesOf(event)).toEqual({ opened: [], closed: [] });
  });

  const webhook = (attempt: number) => ({ ...job(1, attempt), kind: 'webhook' as const });

  it.each([
    ['completed', events.completed(1, { webhook: true })],
    ['failed', events.failed(1, { webhook: true })],
    ['cancelled', events.cancelled({ webhook: true })],
  ])('opens the delivery of the webhook of a job that %s, at once', (_, event) => {
    expect(changesOf(event).opened).toEqual([{ ...webhook(1), ...at(NOW) }]);
  });

  it('closes an attempt to deliver, and opens the next when it is due', () => {
    const retry = webhookEvents.attempted(1, { nextAttemptAt: later(2_000) });
    expect(changesOf(retry)).toEqual({
      opened: [{ ...webhook(2), ...at(later(2_000)) }],
      closed: [webhook(1)],
    });
    expect(changesOf(webhookEvents.delivered(2))).toEqual({ opened: [], closed: [webhook(2)] });
    expect(changesOf(webhookEvents.attempted(3), webhookEvents.abandoned(3))).toEqual({
      opened: [],
      closed: [webhook(3)],
    });
  });

  it('opens the next attempt at once when a redelivery is asked for', () => {
    const { opened, closed } = changesOf(webhookEvents.redeliveryRequested(4));
    expect({ opened, closed }).toEqual({ opened: [{ ...webhook(4), ...at(NOW) }], closed: [] });
  });

  it('lets an earlier delivery go on when the job is retried', () => {
    const { opened, closed } = changesOf(events.failed(1, { webhook: true }), events.retried(2));
    expect(opened.map(workId)).toEqual([workId(webhook(1)), workId(job(2, 1))]);
    expect(closed).toEqual([job(1, 1)]);
  });

  it('says nothing of what was opened and closed within the batch', () => {
    const changes = changesOf(events.created(), events.started(1), events.completed(1));
    expect(changes).toEqual({ opened: [], closed: [] });
  });

  it('keeps of any history, in any batches, exactly the work that must still happen', () => {
    fc.assert(
      fc.property(historyInBatches, (batches) => {
        const open = new Map<string, WorkEntry>();
        for (const batch of batches) {
          const { opened, closed } = workChanges(batch.map(consumed));
          for (const item of closed) open.delete(workId(item));
          for (const entry of opened) open.set(workId(entry), entry);
        }
        const webhooks = foldWebhooks(batches.flat());
        // Every end that is to be told of, until its delivery has come to an end of its own.
        const deliveries = batches.flat().flatMap(({ stream, data }) => {
          const round = data['round'] as number;
          const jobId = stream.slice('job-'.length);
          if (data['webhook'] !== true) return [];
          const state = webhooks.get(webhookId(jobId, round));
          const attempt = state === undefined ? 1 : (state.next?.attempt ?? null);
          return attempt === null ? [] : [workId({ kind: 'webhook', jobId, round, attempt })];
        });
        const expected = [...foldJobs(batches.flat()).values()].flatMap((state) => {
          if (isTerminal(state.status)) return [];
          const { id: jobId, round, attempt } = state;
          const next = { kind: 'job', jobId, round, attempt } as const;
          const finish = { kind: 'cancel-finisher', jobId, round, attempt: 1 } as const;
          return state.cancelRequested ? [workId(next), workId(finish)] : [workId(next)];
        });
        expect([...open.keys()].sort()).toEqual([...expected, ...deliveries].sort());
        // What waits for its time is not due before it.
        for (const state of foldJobs(batches.flat()).values()) {
          if (state.dueAt === null) continue;
          const { id: jobId, round, attempt } = state;
          expect(open.get(workId({ kind: 'job', jobId, round, attempt }))?.dueAt).toEqual(
            new Date(state.dueAt),
          );
        }
      }),
      { numRuns: 100 },
    );
  });

  it('tries histories that reach every end', () => {
    const seen = new Set(
      fc
        .sample(historyInBatches, { numRuns: 200, seed: 1 })
        .flatMap((batches) => batches.flat().map(({ type }) => type)),
    );
    expect([...seen].sort()).toEqual([
      'JobAttemptFailed',
      'JobCancelRequested',
      'JobCancelled',
      'JobCompleted',
      'JobCreated',
      'JobFailed',
      'JobLogged',
      'JobProgressed',
      'JobReleased',
      'JobRetried',
      'JobStarted',
      'WebhookAbandoned',
      'WebhookAttempted',
      'WebhookRedeliveryRequested',
    ]);
  });
});
