import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createEventStoreDbEventStore } from '../../src/infrastructure/eventstoredb/event-store.ts';
import { createPostgresEventStore } from '../../src/infrastructure/postgres/event-store.ts';
import { createCuttingProxy } from '../support/cutting-proxy.ts';
import type { CuttingProxy } from '../support/cutting-proxy.ts';
import { silentLogger } from '../support/database.ts';
import { startEventStoreDouble } from '../support/eventstoredb/server.ts';
import { startApi } from '../support/http.ts';
import { rawRequest, sendRaw } from '../support/raw-http.ts';
import { everything } from '../support/store.ts';

type Api = Awaited<ReturnType<typeof startApi>>;

interface JobData {
  readonly id: string;
  readonly userId: string;
  readonly status: string;
  readonly runAt: string | null;
}

/** An api whose events are in one of the stores. */
interface Setting {
  readonly api: Api;
  /**
   * The next append is made, and nobody hears of it.
   * @returns what brings the store back, for those who ask again later
   */
  readonly loseNextAppend: () => Promise<() => void>;
}

/** Milliseconds for which an append is tried again in these tests. */
const PATIENCE = 500;

async function onPostgres(timing: { patience?: number } = {}): Promise<Setting> {
  let proxy: CuttingProxy | undefined;
  const api = await startApi({}, async ({ url, database }) => {
    const { hostname, port } = new URL(url);
    const opened = await createCuttingProxy({ host: hostname, port: Number(port) });
    onTestFinished(() => opened.close());
    proxy = opened;
    const proxied = new URL(url);
    proxied.port = String(opened.port);
    // What is read takes the direct way.
    return createPostgresEventStore({
      url: proxied.href,
      database,
      logger: silentLogger,
      ...timing,
    });
  });
  return {
    api,
    async loseNextAppend() {
      // What is told to other processes takes the same way, a moment after each append.
      await proxy!.loseNextReply('JobCreated');
      return proxy!.refuse();
    },
  };
}

async function onEventStoreDb(timing: { patience?: number } = {}): Promise<Setting> {
  const double = await startEventStoreDouble();
  onTestFinished(() => double.stop());
  const api = await startApi({}, () =>
    createEventStoreDbEventStore({ url: double.url, logger: silentLogger, ...timing }),
  );
  return {
    api,
    async loseNextAppend() {
      const appended = once(double.log, 'appended');
      double.faults.appends.push('lost-reply');
      double.faults.onAppend = () => 'stall';
      await appended;
      return () => {
        double.faults.onAppend = () => null;
      };
    },
  };
}

const job = { type: 'send-email', payload: { to: 'recipient@example.com' } };
const reused = {
  status: 409,
  body: { success: false, message: 'This Idempotency-Key was used for another request already' },
};

const submit = ({ call }: Api, token: string, key: string, body: unknown = job) =>
  call('POST', '/api/jobs', { token, body, headers: { 'idempotency-key': key } });

const replayed = ({ headers }: Awaited<ReturnType<typeof submit>>): string | null =>
  headers.get('idempotent-replayed');

/** Lets a worker start the job, somewhere else. */
async function start({ handleElsewhere }: Api, jobId: string): Promise<void> {
  await handleElsewhere(
    jobId,
    {
      type: 'StartJob',
      round: 1,
      attempt: 1,
      executionId: randomUUID(),
      workerId: 'w',
      heartbeat: 1,
      supersedes: null,
      defaultMaxAttempts: 3,
      backoffMs: 1,
    },
    { actor: { kind: 'worker', id: 'w' }, correlationId: 'c', causationId: 'c' },
  );
}

describe.each([
  ['Postgres', onPostgres],
  ['EventStoreDB', onEventStoreDb],
])('with events in %s', (_, open) => {
  test('a submission that is repeated is answered with its job, as it is by then', async () => {
    const { api } = await open();
    const { token } = await api.newUser();
    const first = await submit(api, token, 'order-1');
    expect(first.status).toBe(201);
    expect(replayed(first)).toBeNull();
    const { id } = first.body.data as JobData;

    const second = await submit(
      api,
      token,
      'order-1',
      `{"payload": {"to":"${job.payload.to}"}, "type":"${job.type}"}`,
    );
    expect(second.status).toBe(201);
    expect(replayed(second)).toBe('true');
    expect(second.body).toEqual(first.body);
    for (const header of ['location', 'etag']) {
      expect(second.headers.get(header)).toBe(first.headers.get(header));
    }

    await start(api, id);
    const third = await submit(api, token, 'order-1');
    expect(third).toMatchObject({ status: 201, body: { data: { id, status: 'PROCESSING' } } });
    expect(third.headers.get('etag')).toBe('"1"');
    // What was answered is what is read from then on, from the cache too.
    const read = await api.call('GET', `/api/jobs/${id}`, { token });
    expect(read.body.data).toEqual(third.body.data);
    expect((await everything(api.store)).map(({ type }) => type)).toEqual(['JobCreated', 'JobStarted']);
  });

  test('a key that was used for another submission is refused, and changes nothing', async () => {
    const { api } = await open();
    const { token } = await api.newUser();
    await submit(api, token, 'order-1');
    for (const body of [
      { ...job, type: 'other' },
      { ...job, payload: {} },
      { ...job, delayMs: 60_000 },
    ]) {
      const answer = await submit(api, token, 'order-1', body);
      expect(answer).toMatchObject(reused);
      expect(answer.body).toEqual(reused.body);
      expect(replayed(answer)).toBeNull();
    }
    expect(await everything(api.store)).toHaveLength(1);
  });

  test('200 submissions at once with one key make one job', async () => {
    const { api } = await open();
    const { token } = await api.newUser();
    const answers = await Promise.all(Array.from({ length: 200 }, () => submit(api, token, 'order-1')));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
    expect(new Set(answers.map(({ body }) => (body.data as JobData).id)).size).toBe(1);
    expect(answers.filter((answer) => replayed(answer) === 'true')).toHaveLength(199);
    expect(await everything(api.store)).toHaveLength(1);
  });

  test('of two different submissions at once with one key one is taken', async () => {
    const { api } = await open();
    const { token } = await api.newUser();
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_entry, n) => submit(api, token, 'k', { ...job, payload: { n: n % 2 } })),
    );
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(20);
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(20);
    expect(await everything(api.store)).toHaveLength(1);
  });

  test('a job whose submission got no answer is found by repeating it', async () => {
    const { api, loseNextAppend } = await open({ patience: PATIENCE });
    const { token } = await api.newUser();
    // Connections are open by now: what is lost is the append.
    await submit(api, token, 'order-0');
    const [bringBack, unknown] = await Promise.all([loseNextAppend(), submit(api, token, 'order-1')]);
    expect(unknown).toMatchObject({ status: 503, body: { success: false } });
    expect(unknown.headers.get('retry-after')).not.toBeNull();
    bringBack();
    const repeated = await submit(api, token, 'order-1');
    expect(repeated).toMatchObject({ status: 201, body: { data: { status: 'PENDING' } } });
    expect(replayed(repeated)).toBe('true');
    expect(await everything(api.store)).toHaveLength(2);
  });
});

test('a key is its user’s own, whatever the credential', async () => {
  const api = await startApi();
  const { accessToken, apiKey, id: userId } = await api.registerUser();
  const other = await api.newUser();
  const mine = await submit(api, accessToken, 'order-1');
  const mineAgain = await submit(api, apiKey, 'order-1');
  const others = await submit(api, other.token, 'order-1', { ...job, type: 'other' });
  expect(mine.body.data).toMatchObject({ userId });
  expect(mineAgain.body).toEqual(mine.body);
  expect(others).toMatchObject({ status: 201, body: { data: { userId: other.id } } });
  expect(replayed(others)).toBeNull();
});

test('a delay counts from the first submission, however often it is repeated', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  const first = await submit(api, token, 'k', { ...job, delayMs: 60_000 });
  const second = await submit(api, token, 'k', { ...job, delayMs: 60_000 });
  expect(first.body.data).toMatchObject({ runAt: expect.any(String) as string });
  expect(second.body).toEqual(first.body);
});

test('submissions without a key are all different', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  const answers = [1, 2].map(() => api.call('POST', '/api/jobs', { token, body: job }));
  const [a, b] = await Promise.all(answers);
  expect((a!.body.data as JobData).id).not.toBe((b!.body.data as JobData).id);
  expect(replayed(a!)).toBeNull();
  const [created] = await everything(api.store);
  expect(created?.data).toMatchObject({ requestHash: null });
});

test('what is no key, or more than one, is refused and nothing is written', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  const syntax = 'Idempotency-Key must be 1 to 255 visible ASCII characters';
  const refusedFor = (text: string) => ({
    status: 400,
    body: { success: false, message: 'Validation error', errors: { 'Idempotency-Key': [text] } },
  });
  for (const key of ['', 'a b', 'é', 'x'.repeat(256)]) {
    const answer = await submit(api, token, key);
    expect({ status: answer.status, body: answer.body }).toEqual(refusedFor(syntax));
  }
  const twice = await sendRaw(
    api.base,
    rawRequest(
      'POST',
      '/api/jobs',
      [
        `Authorization: Bearer ${token}`,
        'Content-Type: application/json',
        'Idempotency-Key: a',
        'Idempotency-Key: a',
      ],
      JSON.stringify(job),
    ),
  );
  expect({ status: twice.status, body: JSON.parse(twice.text) as unknown }).toEqual(
    refusedFor('Idempotency-Key must be given once'),
  );
  expect(await api.store.head()).toBe(-1n);
  expect((await submit(api, token, 'x'.repeat(255))).status).toBe(201);
});
