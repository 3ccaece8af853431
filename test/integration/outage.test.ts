import { randomUUID } from 'node:crypto';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createCuttingProxy } from '../support/cutting-proxy.ts';
import { createTestDatabase } from '../support/database.ts';
import { startEventStoreDouble } from '../support/eventstoredb/server.ts';
import { httpClient } from '../support/http-client.ts';
import type { Answer, Call, CallOptions } from '../support/http-client.ts';
import { LiveClient } from '../support/live-client.ts';
import { watchRoutes } from '../support/routes.ts';
import { startService } from '../support/service.ts';
import type { ServiceSettings } from '../support/service.ts';
import { eventually } from '../support/waiting.ts';

/** Milliseconds that a request of these tests waits for a part. */
const PATIENCE = 500;
/** Milliseconds after which a request hangs. Nothing here measures time: this is what a busy machine may take, and more. */
const HANGS = 6_000;
/** The same, for a thousand requests at once. */
const ALL_HANG = 30_000;
const job = { type: 'send-email', payload: { to: 'recipient@example.com' } };
const credentials = () => ({ email: `${randomUUID()}@example.com`, password: 'securepassword123' });

interface JobData {
  readonly id: string;
  readonly status: string;
}

interface Client {
  /** Fails when a request hangs. */
  readonly call: Call;
  readonly base: string;
  readonly wsBase: string;
  /** Of the service, as `GET /api/jobs/:id`. */
  readonly routes: readonly string[];
  readonly token: string;
  readonly refreshToken: string;
  /** A job that has ended. */
  readonly jobId: string;
}

/** A service that does everything, and a user with a job in it. */
async function start(settings: ServiceSettings): Promise<Client> {
  const listRoutes = watchRoutes();
  const service = await startService({
    REQUEST_PATIENCE_MS: String(PATIENCE),
    RATE_LIMIT_JOBS_PER_MINUTE: '100000',
    ...settings,
  });
  onTestFinished(() => service.stop());
  const routes = listRoutes();
  const { base, wsBase } = service;
  const call = httpClient(base, HANGS);
  const account = await eventually(async () => {
    const body = credentials();
    return (await call('POST', '/api/auth/register', { body })).status === 201 && body;
  }, 60_000);
  const login = await eventually(async () => {
    const { status, body } = await call('POST', '/api/auth/login', { body: account });
    return status === 200 && (body.data as { accessToken: string; refreshToken: string });
  }, 60_000);
  const token = login.accessToken;
  const jobId = await eventually(async () => {
    const { status, body } = await call('POST', '/api/jobs', { token, body: job });
    return status === 201 && (body.data as JobData).id;
  });
  const client = { call, base, wsBase, routes, token, refreshToken: login.refreshToken, jobId };
  await untilDone(client, jobId);
  return client;
}

const untilDone = ({ call, token }: Client, id: string) =>
  eventually(async () => {
    const { status, body } = await call('GET', `/api/jobs/${id}`, { token });
    return status === 200 && (body.data as JobData).status === 'DONE';
  }, 60_000);

/** `:id` stands for the job of the client. */
type Request = [method: string, path: string, options: CallOptions];

/** Requests to each route that needs the event store. */
function commandsAndStreams({ token }: Client): Request[] {
  return [
    ['POST', '/api/jobs', { token, body: job }],
    ['POST', '/api/jobs', { token, body: job, headers: { 'idempotency-key': 'k' } }],
    ['GET', '/api/jobs/:id', { token }],
    ['GET', '/api/jobs/:id?minRevision=9', { token }],
    ['GET', '/api/jobs/:id?revision=0', { token }],
    ['GET', `/api/jobs/:id?at=2999-01-01T00:00:00.000Z`, { token }],
    ['GET', '/api/jobs/:id/events', { token }],
    ['GET', '/api/jobs/:id/logs', { token }],
    ['GET', '/api/jobs/:id/webhook-logs', { token }],
    ['DELETE', '/api/jobs/:id', { token }],
    ['POST', '/api/jobs/:id/retry', { token }],
    ['POST', '/api/jobs/:id/webhook/redeliver', { token, body: {} }],
  ];
}

/** Requests to each route that needs Postgres, wherever the events are, and the status when it is there. */
function rows({ token, refreshToken }: Client): [status: number, ...Request][] {
  return [
    [200, 'GET', '/api/jobs', { token }],
    [401, 'GET', '/api/jobs', { token: `ak_${'a'.repeat(43)}` }],
    [200, 'GET', '/api/stats', { token }],
    [200, 'GET', '/api/webhooks/secret', { token }],
    [200, 'POST', '/api/webhooks/secret', { token }],
    [201, 'POST', '/api/auth/register', { body: credentials() }],
    [401, 'POST', '/api/auth/login', { body: credentials() }],
    [200, 'POST', '/api/auth/refresh', { body: { refreshToken } }],
    [200, 'POST', '/api/auth/logout', { body: { refreshToken: 'x' } }],
  ];
}

const rowsAlone = (client: Client): Request[] => rows(client).map(([, ...request]) => request);
const nameOf = ([method, path]: Request): string => `${method} ${path}`;

const send = ({ call, jobId }: Client, [method, path, options]: Request): Promise<Answer> =>
  call(method, path.replace(':id', jobId), options);

/** Fails when a route was added that none of the requests above goes to. */
function expectEveryRoute(client: Client): void {
  const probes: Request[] = ['/healthz', '/readyz'].map((path) => ['GET', path, {}]);
  const requests = [...commandsAndStreams(client), ...rowsAlone(client), ...probes];
  const known = new Set(requests.map((request) => nameOf(request).split('?', 1)[0]!));
  expect([...client.routes].sort()).toEqual([...known].sort());
}

/** When the store tells it nothing new, the cache answers for a second more. */
const untilPastTheCache = ({ call, token, jobId }: Client) =>
  eventually(async () => (await call('GET', `/api/jobs/${jobId}`, { token })).status === 503);

async function expectUnavailable(client: Client, requests: readonly Request[]): Promise<void> {
  const answers = await Promise.all(requests.map((request) => send(client, request)));
  for (const [i, answer] of answers.entries()) {
    const name = nameOf(requests[i]!);
    expect({ name, ...summary(answer) }).toEqual({
      name,
      status: 503,
      retryAfter: '1',
      body: { success: false, message: 'Service temporarily unavailable, please try again' },
    });
  }
}

async function expectServed(client: Client): Promise<void> {
  const answers = await Promise.all(rowsAlone(client).map((request) => send(client, request)));
  const expected = rows(client).map(([status, ...request]) => [nameOf(request), status]);
  expect(answers.map(({ status }, i) => [expected[i]![0], status])).toEqual(expected);
}

async function expectNotReady({ call }: Client): Promise<void> {
  expect((await call('GET', '/healthz')).status).toBe(200);
  const { status, headers, body } = await call('GET', '/readyz');
  expect([status, headers.get('retry-after')]).toEqual([503, '1']);
  expect(body).toMatchObject({ status: 'not ready', parts: {} });
}

const untilReady = ({ call }: Client) =>
  eventually(async () => (await call('GET', '/readyz')).status === 200, 60_000);

function connectLive({ wsBase }: Client, token: string): LiveClient {
  const live = new LiveClient(`${wsBase}/ws?token=${token}`);
  onTestFinished(() => live.close());
  return live;
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

/** A Postgres that can be cut off. */
async function startPostgres() {
  const database = await createTestDatabase();
  onTestFinished(() => database.drop());
  const url = new URL(database.url);
  const proxy = await createCuttingProxy({ host: url.hostname, port: Number(url.port) });
  onTestFinished(() => proxy.close());
  url.port = String(proxy.port);
  return { proxy, url: url.href };
}

describe.each(['refuse', 'swallow'] as const)('while the network will %s what goes to Postgres', (manner) => {
  test('every route answers 503, and all goes on by itself afterwards with nothing lost', async () => {
    const { proxy, url } = await startPostgres();
    const client = await start({ DATABASE_URL: url });
    expectEveryRoute(client);
    const restore = proxy[manner]();
    const keys = someKeys();
    const [submitted] = await Promise.all([
      Promise.all(keys.map((key) => submit(client, key))),
      untilPastTheCache(client).then(() =>
        expectUnavailable(client, [...commandsAndStreams(client), ...rowsAlone(client)]),
      ),
    ]);
    expect(new Set(submitted.map(({ status }) => status))).toEqual(new Set([503]));
    for (const credential of [client.token, `ak_${'a'.repeat(43)}`]) {
      const live = connectLive(client, credential);
      await eventually(() => live.isClosed, HANGS);
      expect(await live.closed).toEqual({
        code: 1013,
        reason: 'Service temporarily unavailable, please try again',
      });
    }
    await expectNotReady(client);
    restore();
    await expectNothingLost(client, keys);
    await untilReady(client);
    await connectLive(client, client.token).message('connected');
  }, 240_000);
});

test('while Postgres is away and the events are elsewhere, jobs are still accepted', async () => {
  const { proxy, url } = await startPostgres();
  const double = await startEventStoreDouble();
  onTestFinished(() => double.stop());
  const client = await start({ DATABASE_URL: url, EVENTSTORE_URL: double.url });
  const restore = proxy.refuse();
  await expectUnavailable(client, rowsAlone(client));
  const keys = someKeys();
  const submitted = await Promise.all(keys.map((key) => submit(client, key)));
  expect(new Set(submitted.map(({ status }) => status))).toEqual(new Set([201]));
  await expectNotReady(client);
  restore();
  await expectNothingLost(client, keys);
  await untilReady(client);
}, 240_000);

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
      untilPastTheCache(client).then(() => expectUnavailable(client, commandsAndStreams(client))),
    ]);
    expect(new Set(submitted.map(({ status }) => status))).toEqual(new Set([503]));
    await expectServed(client);
    await connectLive(client, client.token).message('connected');
    await expectNotReady(client);
    if (release === null) double = await startEventStoreDouble({ log, port });
    else release();
    await expectNothingLost(client, keys);
    await untilReady(client);
  }, 240_000);
});

test.each(['before it has begun', 'meanwhile'])(
  'a wait for a revision takes no longer when the event store falls silent %s',
  async (when) => {
    const double = await startEventStoreDouble();
    onTestFinished(() => double.stop());
    const proxy = await createCuttingProxy({ host: '127.0.0.1', port: double.port });
    onTestFinished(() => proxy.close());
    const url = double.url.replace(String(double.port), String(proxy.port));
    // Whoever asks without a revision would wait longer than this suite does.
    const client = await start({ EVENTSTORE_URL: url, REQUEST_PATIENCE_MS: '20000' });
    const wait = () => send(client, ['GET', '/api/jobs/:id?minRevision=9', { token: client.token }]);
    if (when === 'before it has begun') proxy.swallow();
    const before = proxy.received;
    const waiting = wait();
    if (when === 'meanwhile') {
      await eventually(() => proxy.received > before);
      proxy.swallow();
    }
    const { status, headers, body } = await waiting;
    expect([status, headers.get('retry-after'), body.success]).toEqual([503, '1', false]);
  },
  240_000,
);

test('a thousand submissions at once to a store that stalls are all answered, and the service goes on', async () => {
  const double = await startEventStoreDouble();
  onTestFinished(() => double.stop());
  const client = await start({ EVENTSTORE_URL: double.url });
  const release = double.stall();
  const keys = Array.from({ length: 1_000 }, (_, n) => `k-${n}`);
  const patient = { ...client, call: httpClient(client.base, ALL_HANG) };
  const statuses = (await Promise.all(keys.map((key) => submit(patient, key)))).map(({ status }) => status);
  expect(new Set(statuses)).toEqual(new Set([503]));
  release();
  const [repeated] = keys;
  const answer = await eventually(async () => {
    const again = await submit(client, repeated!);
    return again.status === 201 && again;
  }, 60_000);
  await untilDone(client, (answer.body.data as JobData).id);
}, 240_000);
