import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { webhookId, webhookStream } from '../../src/events/webhook.ts';
import type { WebhookEvent } from '../../src/events/webhook.ts';
import { webhookLogsProjection } from '../../src/projections/webhook-logs.ts';
import { startApi } from '../support/http.ts';
import { commands } from '../support/job-spec.ts';
import { everything, stored } from '../support/store.ts';
import { webhookEvents } from '../support/webhook-spec.ts';
import { applyTo } from '../support/read-models.ts';
import { eventually } from '../support/waiting.ts';

const job = { type: 'send-email', payload: { to: 'a@example.com' } };
const webhookUrl = 'https://example.com/hook';

async function setup() {
  const api = await startApi();
  const user = await api.newUser();
  const submit = (body: object = {}) =>
    api.call('POST', '/api/jobs', { token: user.token, body: { ...job, webhookUrl, ...body } });
  async function endedJob(body: object = {}): Promise<string> {
    const { id } = (await submit(body)).body.data as { id: string };
    const context = { actor: { kind: 'worker', id: 'w' }, correlationId: 'r', causationId: 'r' } as const;
    await api.handleJob(id, commands.start(1), context);
    await api.handleJob(id, commands.complete(1), context);
    return id;
  }
  /** Writes what a worker records of deliveries, and what the projector makes of it. */
  async function delivered(jobId: string, ...events: WebhookEvent[]): Promise<void> {
    const own = events.map((event) => ({ ...event, data: { ...event.data, jobId } }) as WebhookEvent);
    const stream = webhookStream(webhookId(jobId, 1));
    await api.store.append(
      stream,
      own.map((event) => stored(event)),
      { expected: 'any' },
    );
    const recorded = await everything(api.store, ['webhook-']);
    await applyTo(api.database, webhookLogsProjection, recorded);
  }
  return { ...api, user, submit, endedJob, delivered };
}

describe('a submission', () => {
  test.each([
    ['http://127.0.0.1/', 'Destination not allowed'],
    ['http://2130706433/', 'Destination not allowed'],
    ['http://[::ffff:10.0.0.1]/', 'Destination not allowed'],
    ['http://169.254.169.254/latest/meta-data/', 'Destination not allowed'],
    ['http://localhost:3000/', 'Destination not allowed'],
    ['https://user:secret@example.com/', 'Must not contain a user name or password'],
  ])('with the webhook URL %s is refused', async (url, message) => {
    const { submit } = await setup();
    const { status, body } = await submit({ webhookUrl: url });
    expect(status).toBe(400);
    expect(body).toEqual({ success: false, message: 'Validation error', errors: { webhookUrl: [message] } });
  });

  test.each([
    [undefined, ['DONE', 'FAILED']],
    [null, ['DONE', 'FAILED']],
    [
      ['CANCELLED', 'DONE', 'CANCELLED'],
      ['DONE', 'CANCELLED'],
    ],
    [[], []],
  ])('may say which ends its webhook is told of: %j', async (webhookEvents, kept) => {
    const { submit, store } = await setup();
    const { id } = (await submit({ webhookEvents })).body.data as { id: string };
    expect((await store.read(`job-${id}`))[0]?.data).toMatchObject({ webhookEvents: kept });
  });

  test.each([['DONE'], [['PENDING']], [{ 0: 'DONE' }], [['DONE', 1]], [Array(9).fill('DONE')]])(
    'with the webhookEvents %j is refused',
    async (webhookEvents) => {
      const { submit } = await setup();
      const { status, body } = await submit({ webhookEvents });
      expect(status).toBe(400);
      expect(Object.keys(body.errors ?? {})[0]).toMatch(/^webhookEvents/);
    },
  );
});

describe('webhook logs', () => {
  test('show each attempt in the form of the contract, oldest first', async () => {
    const { call, user, endedJob, delivered } = await setup();
    const id = await endedJob();
    const payload = { jobId: id, result: { '9': 1, b: [null] } };
    const failed = webhookEvents.attempted(1, { body: JSON.stringify(payload) });
    await delivered(id, failed, webhookEvents.delivered(2));
    const { status, body } = await call('GET', `/api/jobs/${id}/webhook-logs`, { token: user.token });
    expect(status).toBe(200);
    expect(body).toMatchObject({ success: true, message: 'Webhook logs retrieved successfully' });
    const [first, second] = body.data as [Record<string, unknown>, Record<string, unknown>];
    expect(first).toEqual({
      id: expect.any(String) as unknown,
      jobId: id,
      url: 'https://example.com/hook',
      payload,
      statusCode: 500,
      success: false,
      attempt: 1,
      error: 'Internal Server Error',
      createdAt: '2026-05-19T10:00:00.000Z',
    });
    expect(second).toMatchObject({ attempt: 2, statusCode: 200, success: true, error: null });
    const paged = await call('GET', `/api/jobs/${id}/webhook-logs?page=2&limit=1`, { token: user.token });
    expect(paged.body).toMatchObject({
      data: [second],
      meta: { total: 2, totalPages: 2, hasNextPage: false },
    });
  });

  test("are not for another user, and not there for another user's job", async () => {
    const { call, newUser, endedJob, delivered } = await setup();
    const id = await endedJob();
    await delivered(id, webhookEvents.delivered(1));
    const { token } = await newUser();
    for (const path of [
      `/api/jobs/${id}/webhook-logs`,
      `/api/jobs/${randomUUID()}/webhook-logs`,
      '/api/jobs/x/webhook-logs',
    ]) {
      const { status, body } = await call('GET', path, { token });
      expect({ status, body }).toEqual({ status: 404, body: { success: false, message: 'Job not found' } });
    }
    expect((await call('GET', `/api/jobs/${id}/webhook-logs`)).status).toBe(401);
  });
});

describe('a redelivery', () => {
  test('is accepted when a delivery has ended, and refused while one is under way', async () => {
    const { call, user, endedJob, delivered } = await setup();
    const id = await endedJob();
    const redeliver = (body?: unknown) =>
      call('POST', `/api/jobs/${id}/webhook/redeliver`, { token: user.token, body });
    expect((await redeliver()).body.message).toBe('The webhook is still being delivered');
    await delivered(id, webhookEvents.delivered(1));
    expect(await redeliver({ round: 1 })).toMatchObject({
      status: 200,
      body: {
        success: true,
        message: 'Webhook redelivery requested successfully',
        data: { jobId: id, round: 1, attempt: 2 },
      },
    });
    const again = await redeliver();
    expect(again.status).toBe(400);
    expect(again.body.message).toMatch(/^The webhook is still being delivered: the next attempt is due at /);
  });

  test('is refused when there is nothing to deliver', async () => {
    const { call, user, submit, endedJob } = await setup();
    const redeliver = (id: string, body?: unknown) =>
      call('POST', `/api/jobs/${id}/webhook/redeliver`, { token: user.token, body });
    const pending = (await submit()).body.data as { id: string };
    const cases: [string, unknown, string][] = [
      [pending.id, undefined, 'There is no end of the job to tell of'],
      [await endedJob(), { round: 2 }, 'There is no end of the job to tell of'],
      [await endedJob({ webhookUrl: null }), undefined, 'This end of the job has no webhook to deliver'],
      [await endedJob({ webhookEvents: ['FAILED'] }), {}, 'This end of the job has no webhook to deliver'],
    ];
    for (const [id, body, message] of cases) {
      const answer = await redeliver(id, body);
      expect({ status: answer.status, body: answer.body }).toEqual({
        status: 400,
        body: { success: false, message },
      });
    }
    for (const round of [0, 1.5, '1', -1])
      expect(Object.keys((await redeliver(pending.id, { round })).body.errors ?? {})).toEqual(['round']);
  });

  test("is not for another user's job, ended or not", async () => {
    const { call, newUser, submit, endedJob, delivered } = await setup();
    const id = await endedJob();
    await delivered(id, webhookEvents.delivered(1));
    const pending = (await submit()).body.data as { id: string };
    const { token } = await newUser();
    for (const other of [id, pending.id, randomUUID(), 'x']) {
      const { status, body } = await call('POST', `/api/jobs/${other}/webhook/redeliver`, { token });
      expect({ status, message: body.message }).toEqual({ status: 404, message: 'Job not found' });
    }
  });
});

describe("a user's webhook secret", () => {
  test('is made on first use, stays, and is rotated', async () => {
    const { call, user, newUser } = await setup();
    const get = (token = user.token) => call('GET', '/api/webhooks/secret', { token });
    const first = await get();
    expect(first).toMatchObject({
      status: 200,
      body: {
        success: true,
        message: 'Webhook secret retrieved successfully',
        data: { secret: expect.stringMatching(/^whsec_/) as unknown, previousExpiresAt: null },
      },
    });
    expect(first.headers.get('cache-control')).toBe('no-store');
    expect((await get()).body.data).toEqual(first.body.data);
    const rotated = await call('POST', '/api/webhooks/secret', { token: user.token });
    expect(rotated).toMatchObject({ status: 200, body: { message: 'Webhook secret rotated successfully' } });
    const [before, after] = [first.body.data, rotated.body.data] as {
      secret: string;
      previousExpiresAt: string;
    }[];
    expect(after?.secret).not.toBe(before?.secret);
    expect(Date.parse(after!.previousExpiresAt)).toBeGreaterThan(Date.now());
    expect((await get()).body.data).toEqual(after);
    expect((await get((await newUser()).token)).body.data).not.toMatchObject({ secret: after?.secret });
  });

  test('is made on first use while another request rotates it', async () => {
    const { call, user, database } = await setup();
    const rotated = Buffer.alloc(32);
    const insert = 'INSERT INTO webhook_secrets (user_id, secret, created_at) VALUES ($1, $2, now())';
    const asked = await database.transaction(async (tx) => {
      // What a rotation does, step by step.
      await tx.query('SELECT FROM users WHERE id = $1 FOR UPDATE', [user.id]);
      const answer = call('GET', '/api/webhooks/secret', { token: user.token });
      await eventually(async () => {
        const { rows } = await database.query(
          `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
        );
        return rows.length > 0;
      });
      await tx.query(insert, [user.id, rotated]);
      return { answer };
    });
    const secret = `whsec_${rotated.toString('base64')}`;
    expect(await asked.answer).toMatchObject({ status: 200, body: { data: { secret } } });
  });

  test('is shown to nobody else, and in no log', async () => {
    const { call, user, logLines } = await setup();
    expect((await call('GET', '/api/webhooks/secret')).status).toBe(401);
    expect((await call('POST', '/api/webhooks/secret')).status).toBe(401);
    const { secret } = (await call('GET', '/api/webhooks/secret', { token: user.token })).body.data as {
      secret: string;
    };
    expect(logLines.join('')).not.toContain(secret.slice('whsec_'.length));
  });
});
