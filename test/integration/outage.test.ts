import { randomUUID } from 'node:crypto';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createCuttingProxy } from '../support/cutting-proxy.ts';
import { createTestDatabase } from '../support/database.ts';
import { startEventStoreDouble } from '../support/eventstoredb/server.ts';
import { httpClient } from '../support/http-client.ts';
import type { Answer, Call, CallOptions } from '../support/http-client.ts';
import { startService } from '../support/service.ts';
import type { ServiceSettings } from '../support/service.ts';
import { eventually } from '../support/waiting.ts';

/** Milliseconds that a request of these tests waits for a part. */
const PATIENCE = 500;
const job = { type: 'send-email', payload: { to: 'recipient@example.com' } };
const credentials = () => ({ email: `${randomUUID()}@example.com`, password: 'securepassword123' });

interface JobData {
  readonly id: string;
  readonly status: string;
}

interface Client {
  readonly call: Call;
  readonly token: string;
  readonly refreshToken: string;
  /** A job that has ended. */
  readonly jobId: string;
}

/** A service that does everything, and a user with a job in it. */
async function start(settings: ServiceSettings): Promise<Client> {
  const service = await startService({
    REQUEST_PATIENCE_MS: String(PATIENCE),
    RATE_LIMIT_JOBS_PER_MINUTE: '100000',
    ...settings,
  });
  onTestFinished(() => service.stop());
  const call = httpClient(service.base);
  const account = credentials();
  await eventually(async () => (await call('POST', '/api/auth/register', { body: account })).status === 201);
  const login = await eventually(async () => {
    const { status, body } = await call('POST', '/api/auth/login', { body: account });
    return status === 200 && (body.data as { accessToken: string; refreshToken: string });
  });
  const token = login.accessToken;
  const jobId = await eventually(async () => {
    const { status, body } = await call('POST', '/api/jobs', { token, body: job });
    return status === 201 && (body.data as JobData).id;
  });
  const client = { call, token, refreshToken: login.refreshToken, jobId };
  await untilDone(client, jobId);
  return client;
}

const untilDone = ({ call, token }: Client, id: string) =>
  eventually(async () => {
    const { status, body } = await call('GET', `/api/jobs/${id}`, { token });
    return status === 200 && (body.data as JobData).status === 'DONE';
  }, 60_000);

type Request = [method: string, path: string, options: CallOptions];

/** One request to each route that needs the event store. */
function commandsAndStreams({ token, jobId }: Client): Request[] {
  return [
    ['POST', '/api/jobs', { token, body: job }],
    ['POST', '/api/jobs', { token, body: job, headers: { 'idempotency-key': 'k' } }],
    ['GET', `/api/jobs/${jobId}?minRevision=9`, { token }],
    ['DELETE', `/api/jobs/${jobId}`, { token }],
    ['POST', `/api/jobs/${jobId}/retry`, { token }],
    ['POST', `/api/jobs/${jobId}/webhook/redeliver`, { token, body: {} }],
  ];
}

/** One request to each route that needs Postgres, wherever the events are. */
function rows({ token, refreshToken }: Client): Request[] {
  return [
    ['GET', '/api/jobs', { token }],
    ['GET', `/api/jobs/${randomUUID()}`, { token }],
    ['GET', `/api/jobs/${randomUUID()}/logs`, { token }],
    ['GET', `/api/jobs/${randomUUID()}/webhook-logs`, { token }],
    ['GET', '/api/jobs', { token: `ak_${'a'.repeat(43)}` }],
    ['GET', '/api/webhooks/secret', { token }],
    ['POST', '/api/webhooks/secret', { token }],
    ['POST', '/api/auth/register', { body: credentials() }],
    ['POST', '/api/auth/login', { body: credentials() }],
    ['POST', '/api/auth/refresh', { body: { refreshToken } }],
    ['POST', '/api/auth/logout', { body: { refreshToken: 'x' } }],
  ];
}

async function expectUnavailable({ call }: Client, requests: readonly Request[]): Promise<void> {
  const answers = await Promise.all(requests.map((request) => call(...request)));
  for (const [i, answer] of answers.entries()) {
    const [method, path] = requests[i]!;
    const name = `${method} ${path}`;
    expect({ name, ...summary(answer) }).toEqual({
      name,
      status: 503,
      retryAfter: '1',
      body: { success: false, message: 'Service temporarily unavailable, please try again' },
    });
  }
}

const summary = ({ status, headers, body }: Answer) => ({
  status,
  retryAfter: headers.get('retry-after'),
  body,
});

/** A submission that may be repeated; its job tells by which key it was made. */
const submit = ({ call, token }: Client, key: string): Promise<Answer> =>
  call('POST', '/api/jobs', {
    token,
    body: { ...job, payload: { key } },
    headers: { 'idempotency-key': key },
  });

/** Repeats each submission until it is answered: all the jobs run, each once. */
async function expectNothingLost(client: Client, keys: readonly string[]): Promise<void> {
  for (const key of keys) {
    const id = await eventually(async () => {
      const { status, body } = await submit(client, key);
      return status === 201 && (body.data as JobData).id;
    }, 60_000);
    await untilDone(client, id);
  }
  const { call, token } = client;
  // Submissions without an answer that nobody repeats may have made jobs as well.
  await eventually(async () => {
    const { body } = await call('GET', '/api/jobs?status=DONE&limit=100', { token });
    const made = (body.data as { payload: { key?: string } }[]).map(({ payload }) => payload.key);
    expect(made.filter((key) => key !== undefined && keys.includes(key)).sort()).toEqual([...keys].sort());
    return true;
  });
}

const someKeys = () => Array.from({ length: 5 }, () => randomUUID());

describe.each(['refuse', 'swallow'] as const)('while the network will %s what goes to Postgres', (manner) => {
  test('every route answers 503, and all goes on by itself afterwards with nothing lost', async () => {
    const database = await createTestDatabase();
    onTestFinished(() => database.drop());
    const url = new URL(database.url);
    const proxy = await createCuttingProxy({ host: url.hostname, port: Number(url.port) });
    onTestFinished(() => proxy.close());
    url.port = String(proxy.port);
    const client = await start({ DATABASE_URL: url.href });
    const restore = proxy[manner]();
    const keys = someKeys();
    const [submitted] = await Promise.all([
      Promise.all(keys.map((key) => submit(client, key))),
      expectUnavailable(client, [...commandsAndStreams(client), ...rows(client)]),
    ]);
    expect(new Set(submitted.map(({ status }) => status))).toEqual(new Set([503]));
    expect((await client.call('GET', '/healthz')).status).toBe(200);
    expect((await client.call('GET', '/readyz')).status).toBe(503);
    restore();
    await expectNothingLost(client, keys);
    await eventually(async () => (await client.call('GET', '/readyz')).status === 200, 60_000);
  }, 240_000);
});

describe.each(['stalls', 'is gone'])('while EventStoreDB %s', (manner) => {
  test('what needs it answers 503, the rest is served, and all goes on by itself afterwards with nothing lost', async () => {
    let double = await startEventStoreDouble();
    onTestFinished(() => double.stop());
    const client = await start({ EVENTSTORE_URL: double.url });
    const { log, port } = double;
    const release = manner === 'stalls' ? double.stall() : null;
    if (release === null) await double.stop();
    const keys = someKeys();
    const [submitted] = await Promise.all([
      Promise.all(keys.map((key) => submit(client, key))),
      expectUnavailable(client, commandsAndStreams(client)),
    ]);
    expect(new Set(submitted.map(({ status }) => status))).toEqual(new Set([503]));
    const { call, token } = client;
    expect((await call('GET', '/api/jobs', { token })).status).toBe(200);
    expect((await call('GET', '/api/webhooks/secret', { token })).status).toBe(200);
    expect((await call('POST', '/api/auth/register', { body: credentials() })).status).toBe(201);
    expect((await call('GET', '/readyz')).status).toBe(503);
    if (release === null) double = await startEventStoreDouble({ log, port });
    else release();
    await expectNothingLost(client, keys);
    await eventually(async () => (await call('GET', '/readyz')).status === 200, 60_000);
  }, 240_000);
});

test('a thousand submissions at once to a store that stalls are all answered, and the service goes on', async () => {
  const double = await startEventStoreDouble();
  onTestFinished(() => double.stop());
  const client = await start({ EVENTSTORE_URL: double.url });
  const release = double.stall();
  const keys = Array.from({ length: 1_000 }, (_, n) => `k-${n}`);
  const statuses = (await Promise.all(keys.map((key) => submit(client, key)))).map(({ status }) => status);
  expect(new Set(statuses)).toEqual(new Set([503]));
  release();
  const [repeated] = keys;
  const answer = await eventually(async () => {
    const again = await submit(client, repeated!);
    return again.status === 201 && again;
  }, 60_000);
  await untilDone(client, (answer.body.data as JobData).id);
}, 240_000);
