import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { DomainEvent } from '../../src/events/codec.ts';
import { jobStream } from '../../src/events/job.ts';
import { webhookId, webhookStream } from '../../src/events/webhook.ts';
import { checkCommands } from '../chaos/checks/commands.ts';
import { checkFloors } from '../chaos/checks/floors.ts';
import type { Streams } from '../chaos/checks/stored.ts';
import { checkStreams } from '../chaos/checks/streams.ts';
import { checkSubmissions } from '../chaos/checks/submissions.ts';
import { checkWebhooks, expectedWebhooks } from '../chaos/checks/webhooks.ts';
import type { Delivery } from '../chaos/checks/webhooks.ts';
import type { Command, Submission } from '../chaos/history.ts';
import { events, execution, JOB_ID, NOW, USER } from '../support/job-spec.ts';
import { stored } from '../support/store.ts';
import { later, webhookEvents } from '../support/webhook-spec.ts';

const SECOND_JOB = '0196e7d2-0000-7000-8000-000000000002';
const policy = { jobBackoffMs: 1_000, webhookBackoffMs: 2_000 };
const payload = { n: 7 };
const HOOK = 'http://127.0.0.1:9/willing/7';

/** Streams as the store would hold them, by name. */
function streamsOf(all: Readonly<Record<string, readonly DomainEvent[]>>, occurredAt = NOW): Streams {
  return new Map(
    Object.entries(all).map(([stream, history]) => [
      stream,
      history.map((event, revision) => ({
        event,
        recorded: { ...stored(event, occurredAt), stream, revision },
      })),
    ]),
  );
}

const job = (...history: readonly DomainEvent[]): Streams => streamsOf({ [jobStream(JOB_ID)]: history });
const webhook = (...history: readonly DomainEvent[]): Streams =>
  streamsOf({ [webhookStream(webhookId(JOB_ID, 1))]: history });
const promises = (violations: readonly { promise: string }[]) => violations.map(({ promise }) => promise);

describe('checkSubmissions', () => {
  const created = events.created({ payload });
  const submission = (given: Partial<Submission> = {}): Submission => ({
    n: 7,
    userId: USER,
    type: 'send-email',
    payload,
    webhookUrl: null,
    idempotencyKey: 'order-7',
    outcomes: ['ok'],
    jobId: JOB_ID,
    ...given,
  });
  const twice = streamsOf({
    [jobStream(JOB_ID)]: [created],
    [jobStream(SECOND_JOB)]: [events.created({ payload, jobId: SECOND_JOB })],
  });

  it.each([
    { of: 'a job that is there', given: submission(), streams: job(created) },
    {
      of: 'an unknown one with a key that was repeated',
      given: submission({ outcomes: ['unknown', 'unknown', 'ok'] }),
      streams: job(created),
    },
    { of: 'an unknown one that was made', given: unknown(null), streams: job(created) },
    { of: 'an unknown one that was not made', given: unknown(null), streams: job() },
    { of: 'one that was not sent', given: submission({ outcomes: ['failed'], jobId: null }), streams: job() },
  ])('finds nothing wrong with $of', ({ given, streams }) => {
    expect(checkSubmissions([given], streams)).toEqual([]);
  });

  it.each([
    { lie: 'a lost job', given: submission(), streams: job(), promise: 'no acknowledged job is lost' },
    {
      lie: 'a job with another id than was answered',
      given: submission({ jobId: SECOND_JOB }),
      streams: job(created),
      promise: 'no acknowledged job is lost',
    },
    {
      lie: 'two jobs of one key',
      given: submission({ outcomes: ['unknown', 'ok'] }),
      streams: twice,
      promise: 'a submission makes one job at most',
    },
    {
      lie: 'two jobs of one request',
      given: unknown(null),
      streams: twice,
      promise: 'a submission makes one job at most',
    },
    {
      lie: 'a job that was refused',
      given: submission({ outcomes: ['failed'], jobId: null }),
      streams: job(created),
      promise: 'what was refused is not done',
    },
    {
      lie: "another user's job",
      given: submission({ userId: 'user-2' }),
      streams: job(created),
      promise: 'a job is what was asked for',
    },
    {
      lie: 'another payload',
      given: submission({ payload: { n: 7, to: 'a@example.com' } }),
      streams: job(created),
      promise: 'a job is what was asked for',
    },
    {
      lie: 'a webhook that is not to be told of every end',
      given: submission({ webhookUrl: HOOK }),
      streams: job(events.created({ payload, webhookUrl: HOOK, webhookEvents: ['DONE'] })),
      promise: 'a job is what was asked for',
    },
  ])('reports $lie', ({ given, streams, promise }) => {
    expect(promises(checkSubmissions([given], streams))).toEqual([promise]);
  });

  it('reports a job that nobody asked for', () => {
    expect(promises(checkSubmissions([], job(created)))).toEqual(['no job comes from nowhere']);
  });

  function unknown(idempotencyKey: string | null): Submission {
    return submission({ outcomes: ['unknown'], jobId: null, idempotencyKey });
  }
});

describe('checkCommands', () => {
  const command = (given: Partial<Command>): Command => ({
    kind: 'cancel',
    jobId: JOB_ID,
    round: null,
    outcome: 'ok',
    requested: false,
    ...given,
  });
  const cancelled = job(events.created(), events.cancelled());
  const retried = job(events.created(), events.cancelled(), events.retried(2));
  const ended = job(events.created(), events.started(1), events.completed(1));
  const running = [events.created(), events.started(1)];
  const stopped = job(...running, events.cancelRequested(1), events.cancelled());
  const abandoned = [
    webhookEvents.attempted(1),
    webhookEvents.attempted(2),
    webhookEvents.attempted(3),
    webhookEvents.abandoned(3),
  ];
  const asked = webhook(...abandoned, webhookEvents.redeliveryRequested(4), webhookEvents.delivered(4));
  const redeliver = (given: Partial<Command> = {}) => command({ kind: 'redeliver', round: 1, ...given });

  it.each([
    { of: 'a cancelled job', given: [command({})], streams: cancelled },
    { of: 'an unknown cancel that was done', given: [command({ outcome: 'unknown' })], streams: cancelled },
    { of: 'an unknown cancel that was not done', given: [command({ outcome: 'unknown' })], streams: ended },
    { of: 'a cancel that came too late', given: [command({ outcome: 'failed' })], streams: ended },
    { of: 'a retried job', given: [command({}), command({ kind: 'retry' })], streams: retried },
    { of: 'a job that was stopped', given: [command({ requested: true })], streams: stopped },
    { of: 'an unknown one that was stopped', given: [command({ outcome: 'unknown' })], streams: stopped },
    { of: 'a webhook that was asked for again', given: [redeliver()], streams: asked },
    {
      of: 'a redelivery that nobody knows of',
      given: [redeliver({ outcome: 'unknown' })],
      streams: webhook(...abandoned),
    },
  ])('finds nothing wrong with $of', ({ given, streams }) => {
    expect(checkCommands(given, streams)).toEqual([]);
  });

  it.each([
    { lie: 'a cancel that was answered and not done', given: [command({})], streams: ended },
    { lie: 'a cancel that nobody asked for', given: [], streams: cancelled },
    {
      lie: 'a cancel that was refused and done',
      given: [command({ outcome: 'failed' })],
      streams: cancelled,
    },
    {
      lie: 'a retry that was answered and not done',
      given: [command({}), command({ kind: 'retry' })],
      streams: cancelled,
    },
    { lie: 'a retry that nobody asked for', given: [command({})], streams: retried },
    {
      lie: 'a job that was to be stopped, and of which nothing says so',
      given: [command({ requested: true })],
      streams: cancelled,
    },
    {
      lie: 'a job that was to be stopped and went on',
      given: [command({ requested: true })],
      streams: job(...running, events.cancelRequested(1), events.completed(1)),
    },
    {
      lie: 'a stop that was answered as something else',
      given: [command({ requested: false })],
      streams: stopped,
    },
    {
      lie: 'a redelivery that was answered and not done',
      given: [redeliver()],
      streams: webhook(...abandoned),
    },
    { lie: 'a redelivery of another round', given: [redeliver({ round: 2 }), redeliver()], streams: asked },
    { lie: 'a redelivery of nothing', given: [redeliver()], streams: ended },
    { lie: 'a redelivery that nobody asked for', given: [], streams: asked },
    {
      lie: 'a redelivery that was refused and done',
      given: [redeliver({ outcome: 'failed' })],
      streams: asked,
    },
  ])('reports $lie', ({ given, streams }) => {
    expect(promises(checkCommands(given, streams))).toEqual(['what was answered was done']);
  });
});

describe('checkStreams', () => {
  const retryAt = later(1_000);

  it.each([
    ['done', job(events.created(), events.started(1), events.completed(1))],
    [
      'taken over, failed, released and done',
      job(
        events.created(),
        events.started(1),
        events.started(2, { supersedes: execution(1) }),
        events.released(2),
        events.started(3),
        events.completed(3),
      ),
    ],
    ['failed for good', job(events.created(), events.started(1), events.failed(1))],
    [
      'cancelled, and again',
      job(events.created(), events.cancelled(), events.retried(2), events.cancelled({ round: 2 })),
    ],
    [
      'a webhook',
      webhook(webhookEvents.attempted(1, { nextAttemptAt: later(2_000) }), webhookEvents.delivered(2)),
    ],
  ])('finds nothing wrong with a history: %s', (_, streams) => {
    expect(checkStreams(streams, policy)).toEqual([]);
  });

  it.each([
    {
      lie: 'a round that ended twice',
      streams: job(events.created(), events.started(1), events.completed(1), events.completed(1)),
      expected: ['every stream is valid for its decider', 'a round ends exactly once'],
    },
    {
      lie: 'a job that was done and cancelled',
      streams: job(events.created(), events.started(1), events.completed(1), events.cancelled()),
      expected: ['every stream is valid for its decider', 'a round ends exactly once'],
    },
    {
      lie: 'a job without an end',
      streams: job(events.created(), events.started(1)),
      expected: ['every job ends'],
    },
    {
      lie: 'a second round without an end',
      streams: job(events.created(), events.cancelled(), events.retried(2)),
      expected: ['every job ends'],
    },
    {
      lie: 'an end by an execution that had been replaced',
      streams: job(events.created(), events.started(1), events.completed(2)),
      expected: ['every stream is valid for its decider'],
    },
    {
      lie: 'a takeover that proved nothing dead',
      streams: job(events.created(), events.started(1), events.started(2), events.completed(2)),
      expected: ['every stream is valid for its decider'],
    },
    {
      lie: 'an attempt too many',
      streams: job(
        events.created({ maxAttempts: 1 }),
        events.started(1, { maxAttempts: 1 }),
        events.attemptFailed(1, { retryAt }),
        events.cancelled({ attempt: 2 }),
      ),
      expected: ['every stream is valid for its decider'],
    },
    {
      lie: 'a stream that begins in the middle',
      streams: job(events.started(1), events.completed(1)),
      expected: ['every stream is valid for its decider', 'every stream is valid for its decider'],
    },
    {
      lie: 'a webhook that went on after its success',
      streams: webhook(webhookEvents.delivered(1), webhookEvents.delivered(2)),
      expected: ['every stream is valid for its decider'],
    },
    {
      lie: 'a webhook that was given up on too early',
      streams: webhook(webhookEvents.attempted(1), webhookEvents.abandoned(1)),
      expected: ['every stream is valid for its decider', 'every stream is valid for its decider'],
    },
  ])('reports $lie', ({ streams, expected }) => {
    expect(promises(checkStreams(streams, policy))).toEqual(expected);
  });

  it('reports a hole and a time that runs backwards', () => {
    const [[name, history] = ['', []]] = [...job(events.created(), events.started(1), events.completed(1))];
    const [created, started, completed] = history;
    const hole = new Map([[name, [created!, completed!]]]);
    expect(checkStreams(hole, policy).map(({ particulars }) => particulars)).toContain(
      `${name} has revision 2 in place 1`,
    );
    const early = { ...completed!.recorded.metadata, occurredAt: '2026-05-19T09:59:59.000Z' };
    const backwards = { ...completed!, recorded: { ...completed!.recorded, metadata: early } };
    expect(checkStreams(new Map([[name, [created!, started!, backwards]]]), policy)).toEqual([
      { promise: 'every stream is valid for its decider', particulars: `${name} runs back in time at 2` },
    ]);
  });
});

describe('checkWebhooks', () => {
  const [serviceSecret, key] = ['the secret of the service', Buffer.from('the secret of the user')];
  const id = webhookId(JOB_ID, 1);
  const expected = [{ id, userId: USER }];
  const secrets = new Map([[USER, [key]]]);
  const delivery = (given: Partial<Delivery> = {}): Delivery => {
    const [timestamp, body] = ['1779184802', '{"status":"DONE"}'];
    const user = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64');
    const service = createHmac('sha256', serviceSecret).update(body).digest('hex');
    return {
      id,
      timestamp,
      body,
      serviceSignature: `sha256=${service}`,
      userSignatures: `v1,${user}`,
      taken: true,
      ...given,
    };
  };
  const check = (...deliveries: readonly Delivery[]) =>
    promises(checkWebhooks({ expected, deliveries, secrets, serviceSecret }));

  it('finds nothing wrong with a webhook that came more than once', () => {
    expect(check(delivery({ taken: false }), delivery(), delivery())).toEqual([]);
  });

  it('reports a webhook that never came, or was never taken', () => {
    expect(check()).toEqual(['every webhook is delivered']);
    expect(check(delivery({ taken: false }))).toEqual(['every webhook is delivered']);
  });

  it.each([
    ['the service', { serviceSignature: 'sha256=00' }],
    ['the user', { userSignatures: 'v1,AAAA' }],
    ['another body', { timestamp: '1779184803' }],
  ])('reports a bad signature of %s', (_, wrong) => {
    expect(check(delivery(), delivery(wrong))).toEqual(['webhooks are signed']);
  });

  it('reports a webhook of no end, and one that changes', () => {
    const other = createHmac('sha256', serviceSecret).update('{}').digest('hex');
    const user = createHmac('sha256', key).update(`${id}.1779184802.{}`).digest('base64');
    const changed = { body: '{}', serviceSignature: `sha256=${other}`, userSignatures: `v1,${user}` };
    expect(check(delivery(), delivery({ id: webhookId(SECOND_JOB, 1) }))).toEqual(['webhooks tell of ends']);
    expect(check(delivery(), delivery(changed))).toEqual(['a webhook is the same at every attempt']);
  });
});

describe('expectedWebhooks', () => {
  const told = (...history: readonly DomainEvent[]) => expectedWebhooks(job(...history)).map(({ id }) => id);
  const created = events.created({ webhookUrl: HOOK, webhookEvents: ['DONE', 'CANCELLED'] });

  it('goes by what was asked for, whatever an end says of itself', () => {
    expect(told(created, events.started(1), events.completed(1, { webhook: false }))).toEqual([
      `${JOB_ID}-1`,
    ]);
    expect(told(created, events.cancelled(), events.retried(2), events.cancelled({ round: 2 }))).toEqual([
      `${JOB_ID}-1`,
      `${JOB_ID}-2`,
    ]);
  });

  it('expects nothing that nobody asked for', () => {
    expect(told(created, events.started(1), events.failed(1, { webhook: true }))).toEqual([]);
    expect(told(events.created(), events.cancelled({ webhook: true }))).toEqual([]);
    expect(told(created, events.started(1))).toEqual([]);
  });
});

describe('checkFloors', () => {
  const submission = (jobId: string | null, idempotencyKey: string | null = null): Submission => ({
    n: 7,
    userId: USER,
    type: 'send-email',
    payload,
    webhookUrl: null,
    idempotencyKey,
    outcomes: [jobId === null ? 'unknown' : 'ok'],
    jobId,
  });
  const delivery = (taken: boolean): Delivery => ({
    id: webhookId(JOB_ID, 1),
    timestamp: '1779184802',
    serviceSignature: '',
    userSignatures: '',
    body: '{}',
    taken,
  });
  const three = [submission(JOB_ID), submission(JOB_ID), submission(JOB_ID)];
  const good = {
    submissions: [...three, submission(null)],
    streams: job(events.created(), events.cancelled()),
    deliveries: [delivery(false), delivery(true)],
  };
  const work = 'the service does its work meanwhile';

  it('finds nothing wrong with a run in which most was done', () => {
    expect(checkFloors(good)).toEqual([]);
  });

  it.each([
    { lie: 'nothing that was submitted', given: { submissions: [] }, expected: [work] },
    {
      lie: 'too few submissions that were acknowledged',
      given: { submissions: [submission(JOB_ID), submission(JOB_ID), submission(null)] },
      expected: [work],
    },
    {
      lie: 'a submission with a key that was given up',
      given: { submissions: [...three, submission(null, 'order-7')] },
      expected: ['a submission with a key is acknowledged in the end'],
    },
    { lie: 'no job that has ended', given: { streams: job(events.created()) }, expected: [work] },
    { lie: 'no webhook that was taken', given: { deliveries: [delivery(false)] }, expected: [work] },
    {
      lie: 'a service that takes nothing',
      given: { submissions: [submission(null, 'order-7')], streams: job(), deliveries: [] },
      expected: [work, work, work, 'a submission with a key is acknowledged in the end'],
    },
  ])('reports $lie', ({ given, expected }) => {
    expect(promises(checkFloors({ ...good, ...given }))).toEqual(expected);
  });
});
