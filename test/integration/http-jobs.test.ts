import { randomUUID } from 'node:crypto';
import { expect, onTestFinished, test } from 'vitest';
import { projections } from '../../src/projections/registry.ts';
import { startProjector } from '../../src/projections/projector.ts';
import { silentLogger } from '../support/database.ts';
import { startApi } from '../support/http.ts';

type Api = Awaited<ReturnType<typeof startApi>>;

interface JobData {
  readonly id: string;
  readonly status: string;
  readonly payload: unknown;
  readonly updatedAt: string;
}

const newJob = {
  type: 'send-email',
  payload: { to: 'recipient@example.com', subject: 'Welcome to Asyncly' },
  webhookUrl: 'https://your-server.com/webhooks/asyncly',
};
const instant = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string;
const notFound = { status: 404, body: { success: false, message: 'Job not found' } };

function project({ store, database }: Api): void {
  const projector = startProjector({
    store,
    database,
    logger: silentLogger,
    holder: randomUUID(),
    projections,
  });
  onTestFinished(() => projector.stop());
}

async function create({ call }: Api, token: string, body: unknown = newJob): Promise<JobData> {
  const answer = await call('POST', '/api/jobs', { token, body });
  expect(answer.status).toBe(201);
  return answer.body.data as JobData;
}

/** Lets a worker of our own run the job, as far as the store is concerned. */
async function run({ handleJob }: Api, jobId: string, result?: { sent: boolean }): Promise<void> {
  const context = { actor: { kind: 'worker', id: 'w' }, correlationId: 'c', causationId: 'c' } as const;
  const executionId = randomUUID();
  const start = { round: 1, attempt: 1, executionId, workerId: 'w', heartbeat: 1, supersedes: null } as const;
  await handleJob(jobId, { type: 'StartJob', ...start, defaultMaxAttempts: 3, backoffMs: 1 }, context);
  if (result) await handleJob(jobId, { type: 'CompleteJob', executionId, result }, context);
}

test('a job is created, and answered in the fields of the contract', async () => {
  const api = await startApi();
  const { id: userId, token } = await api.newUser();
  const { status, body, headers } = await api.call('POST', '/api/jobs', { token, body: newJob });
  expect(status).toBe(201);
  expect(body).toMatchObject({
    success: true,
    message: 'Job created successfully',
    data: { userId, ...newJob, status: 'PENDING', result: null, createdAt: instant, updatedAt: instant },
  });
  const { id } = body.data as JobData;
  expect(headers.get('location')).toBe(`/api/jobs/${id}`);
  expect(headers.get('etag')).toBe('"0"');
  expect(Object.keys(body.data as object).slice(0, 9)).toEqual(
    'id userId type status payload result webhookUrl createdAt updatedAt'.split(' '),
  );

  const [created, ...more] = await api.store.read(`job-${id}`);
  expect(more).toEqual([]);
  expect(created?.metadata).toMatchObject({
    actor: { kind: 'user', id: userId },
    correlationId: headers.get('x-request-id'),
  });
});

const noJobs = [
  [{}, { type: ['Job type is required'], payload: ['Payload must be an object'] }],
  [{ ...newJob, type: '' }, { type: ['Job type is required'] }],
  [{ ...newJob, type: 'x'.repeat(101) }, { type: ['Job type must be at most 100 characters'] }],
  [{ ...newJob, type: 'a\nb' }, { type: ['Job type must not contain control characters'] }],
  [{ ...newJob, payload: [] }, { payload: ['Payload must be an object'] }],
  [
    { ...newJob, payload: { a: { b: '\0' } } },
    { 'payload.a.b': ['Text must not contain NUL or lone surrogates'] },
  ],
  [{ ...newJob, webhookUrl: 'ftp://example.com' }, { webhookUrl: ['Invalid webhook URL'] }],
  [{ ...newJob, webhookUrl: 'https://' }, { webhookUrl: ['Invalid webhook URL'] }],
  [{ ...newJob, webhookUrl: 7 }, { webhookUrl: ['Invalid webhook URL'] }],
] as const;

test('what is wrong with a job is named by field, and nothing is written', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  for (const [body, errors] of noJobs) {
    const answer = await api.call('POST', '/api/jobs', { token, body });
    expect(answer.status).toBe(400);
    expect(answer.body).toEqual({ success: false, message: 'Validation error', errors });
  }
  expect(await api.store.head()).toBe(-1n);
});

test('a payload that its handler refuses is named by field', async () => {
  const api = await startApi({
    checkPayload: (type) => (type === 'send-email' ? { to: ['Required'], '': ['Too small'] } : null),
  });
  const { token } = await api.newUser();
  expect(await api.call('POST', '/api/jobs', { token, body: newJob })).toMatchObject({
    status: 400,
    body: { message: 'Validation error', errors: { 'payload.to': ['Required'], payload: ['Too small'] } },
  });
  await create(api, token, { ...newJob, type: 'other' });
});

test('a submission may ask for less than its handler allows, and not for more', async () => {
  const api = await startApi({
    limitsOf: (type) => (type === 'slow' ? { timeoutMs: 500, maxAttempts: 2 } : null),
  });
  const { token } = await api.newUser();
  const submit = (more: object) => api.call('POST', '/api/jobs', { token, body: { ...newJob, ...more } });
  expect(await submit({ type: 'slow', timeoutMs: 501, maxAttempts: 3 })).toMatchObject({
    status: 400,
    body: {
      message: 'Validation error',
      errors: {
        timeoutMs: ['timeoutMs must be at most 500 for the job type slow'],
        maxAttempts: ['maxAttempts must be at most 2 for the job type slow'],
      },
    },
  });
  expect((await submit({ type: 'slow', timeoutMs: 500, maxAttempts: 1 })).status).toBe(201);
  expect((await submit({ type: 'slow' })).status).toBe(201);
  expect((await submit({ type: 'other', timeoutMs: 86_400_000, maxAttempts: 100 })).status).toBe(201);
});

test('a payload comes back as it was sent, and pollutes nothing', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  const payload = {
    z: 1,
    a: { constructor: { prototype: 1 }, '': [] },
    text: '😀 "\\ \u2028',
    n: [1e300, -0.1, null],
  };
  const { id } = await create(api, token, { type: 't', payload });
  const { body } = await api.call('GET', `/api/jobs/${id}`, { token });
  expect((body.data as JobData).payload).toEqual(payload);
  expect(JSON.stringify((body.data as JobData).payload)).toBe(JSON.stringify(payload));

  const polluting = '{"type":"t","payload":{"__proto__":{"admin":true}}}';
  expect((await api.call('POST', '/api/jobs', { token, body: polluting })).status).toBe(400);
  expect({}).not.toHaveProperty('admin');
});

test('a command that was answered is seen by every later read, with no projector at all', async () => {
  const api = await startApi();
  const { token, id: userId } = await api.newUser();
  const { id } = await create(api, token);
  await run(api, id, { sent: true });
  const { status, body, headers } = await api.call('GET', `/api/jobs/${id}`, { token });
  expect(status).toBe(200);
  expect(headers.get('etag')).toBe('"2"');
  expect(body).toMatchObject({
    success: true,
    message: 'Job retrieved successfully',
    data: { id, userId, status: 'DONE', result: { sent: true }, attempt: 1, maxAttempts: 3 },
  });
});

test('a row that is behind its stream is brought up to date on the way out', async () => {
  const api = await startApi();
  project(api);
  const { token } = await api.newUser();
  const { id } = await create(api, token);
  const revisionOfRow = async (): Promise<unknown> =>
    (await api.database.query('SELECT revision FROM jobs WHERE id = $1', [id])).rows[0];
  await expect.poll(revisionOfRow, { timeout: 10_000 }).toEqual({ revision: 0 });
  await run(api, id, { sent: true });
  expect((await api.call('GET', `/api/jobs/${id}`, { token })).headers.get('etag')).toBe('"2"');
  await expect.poll(revisionOfRow, { timeout: 10_000 }).toEqual({ revision: 2 });
  expect((await api.call('GET', `/api/jobs/${id}`, { token })).headers.get('etag')).toBe('"2"');
});

test('minRevision waits until the job is that new, and not for ever', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  const { id } = await create(api, token);
  const waiting = api.call('GET', `/api/jobs/${id}?minRevision=1`, { token });
  await run(api, id);
  expect(await waiting).toMatchObject({ status: 200, body: { data: { status: 'PROCESSING' } } });

  const { status, headers, body } = await api.call('GET', `/api/jobs/${id}?minRevision=9`, { token });
  expect(status).toBe(503);
  expect(headers.get('retry-after')).toBe('1');
  expect(body).toEqual({ success: false, message: 'The job is at revision 1, not yet at 9' });
});

test('jobs are listed by page and status, newest first', async () => {
  const api = await startApi();
  project(api);
  const [{ token }, other] = [await api.newUser(), await api.newUser()];
  await create(api, other.token);
  const ids: string[] = [];
  for (let n = 0; n < 5; n++) ids.unshift((await create(api, token)).id);
  await run(api, ids[0]!, { sent: true });
  const list = async (query = '') => (await api.call('GET', `/api/jobs${query}`, { token })).body;
  await expect.poll(async () => (await list('?status=DONE')).data, { timeout: 10_000 }).toHaveLength(1);

  const first = await list('?page=1&limit=2');
  expect(first).toMatchObject({ success: true, message: 'Jobs retrieved successfully' });
  expect((first.data as JobData[]).map(({ id }) => id)).toEqual(ids.slice(0, 2));
  expect(first.data).toMatchObject([
    { ...newJob, status: 'DONE', result: { sent: true } },
    { status: 'PENDING' },
  ]);
  expect(first.meta).toEqual({
    total: 5,
    page: 1,
    limit: 2,
    totalPages: 3,
    hasNextPage: true,
    hasPrevPage: false,
  });
  const last = await list('?page=3&limit=2');
  expect((last.data as JobData[]).map(({ id }) => id)).toEqual(ids.slice(4));
  expect(last.meta).toMatchObject({ hasNextPage: false, hasPrevPage: true });
  expect(await list('?status=FAILED')).toMatchObject({
    data: [],
    meta: { total: 0, page: 1, limit: 10, totalPages: 0, hasNextPage: false, hasPrevPage: false },
  });
  expect(await list('?page=4&limit=2')).toMatchObject({
    data: [],
    meta: { total: 5, totalPages: 3, hasNextPage: false, hasPrevPage: true },
  });
  expect(await list('?page=2&limit=3&status=PENDING')).toMatchObject({
    data: [{ id: ids[4] }],
    meta: { total: 4, totalPages: 2, hasNextPage: false, hasPrevPage: true },
  });
  expect((await list('?limit=100')).data).toHaveLength(5);
});

test('totals follow jobs from status to status', async () => {
  const api = await startApi();
  project(api);
  const { token } = await api.newUser();
  const totals = async (): Promise<unknown[]> => {
    const queries = [
      '',
      ...['PENDING', 'PROCESSING', 'DONE', 'FAILED', 'CANCELLED'].map((s) => `status=${s}`),
    ];
    return await Promise.all(
      queries.map(async (query) => {
        const { body } = await api.call('GET', `/api/jobs?limit=1&${query}`, { token });
        return (body.meta as { total: number }).total;
      }),
    );
  };
  const reaches = (...expected: number[]): Promise<void> =>
    expect.poll(totals, { timeout: 10_000 }).toEqual(expected);
  await reaches(0, 0, 0, 0, 0, 0);
  const one = await create(api, token);
  const two = await create(api, token);
  await reaches(2, 2, 0, 0, 0, 0);
  await run(api, one.id);
  await reaches(2, 1, 1, 0, 0, 0);
  await run(api, two.id, { sent: true });
  await reaches(2, 0, 1, 1, 0, 0);
  const three = await create(api, token);
  await api.call('DELETE', `/api/jobs/${three.id}`, { token });
  await reaches(3, 0, 1, 1, 0, 1);
  await api.call('POST', `/api/jobs/${three.id}/retry`, { token });
  await reaches(3, 1, 1, 1, 0, 0);
});

test('a query that makes no sense is refused, not guessed at', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  const wrong = [
    'page=0',
    'page=x',
    'page=1.5',
    'limit=0',
    'limit=101',
    'status=done',
    'page=1&page=2',
    'status=DONE&status=DONE',
  ];
  for (const query of wrong) {
    const { status, body } = await api.call('GET', `/api/jobs?${query}`, { token });
    expect(status).toBe(400);
    expect(Object.keys(body.errors ?? {})).toEqual([query.split('=')[0]]);
  }
});

test.each([
  ['limit=1000000000', { limit: ['limit must be at most 100'] }],
  ['page=-1', { page: ['page must be at least 1'] }],
  ['page=-99999999999999999999', { page: ['page must be at least 1'] }],
  [`page=${'9'.repeat(400)}`, { page: ['page must be at most 1000000'] }],
])('a number beyond its bounds is told which they are: %s', async (query, errors) => {
  const api = await startApi();
  const { token } = await api.newUser();
  const { body } = await api.call('GET', `/api/jobs?${query}`, { token });
  expect(body.errors).toEqual(errors);
});

test('a submission is told once what is wrong with it', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  const array = await api.call('POST', '/api/jobs', { token, body: [] });
  expect(array.body.errors).toEqual({ body: ['The body must be a JSON object'] });
  const body = { type: 'other', payload: {}, webhookEvents: 'DONE' };
  const events = await api.call('POST', '/api/jobs', { token, body });
  expect(events.body.errors?.webhookEvents).toHaveLength(1);
});

test('a pending job is cancelled, and only that', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  const { id } = await create(api, token);
  const { status, body } = await api.call('DELETE', `/api/jobs/${id}`, { token });
  expect(status).toBe(200);
  expect(body).toEqual({
    success: true,
    message: 'Job cancelled successfully',
    data: { id, status: 'CANCELLED', updatedAt: instant },
  });
  expect((await api.call('GET', `/api/jobs/${id}`, { token })).body.data).toMatchObject({
    status: 'CANCELLED',
  });

  const running = await create(api, token);
  await run(api, running.id);
  const refused = await api.call('DELETE', `/api/jobs/${running.id}`, { token });
  expect(refused.status).toBe(400);
  expect(refused.body).toEqual({
    success: false,
    message: 'Cannot cancel job with status PROCESSING. Only PENDING jobs can be cancelled.',
  });
});

test('the log has the words of the contract, in order', async () => {
  const api = await startApi();
  project(api);
  const { token } = await api.newUser();
  const { id } = await create(api, token);
  await run(api, id, { sent: true });
  const logs = async (query = '') => (await api.call('GET', `/api/jobs/${id}/logs${query}`, { token })).body;
  await expect.poll(async () => (await logs()).data, { timeout: 10_000 }).toHaveLength(4);
  const line = (message: string) => ({
    id: expect.any(String) as string,
    jobId: id,
    message,
    createdAt: instant,
  });
  expect(await logs()).toMatchObject({
    success: true,
    message: 'Job logs retrieved successfully',
    data: [
      line('Job started: type=send-email'),
      line('Status updated to PROCESSING'),
      line('Processing job type: send-email'),
      line('Job completed successfully'),
    ],
  });
  expect(await logs('?page=2&limit=3')).toMatchObject({
    data: [{ message: 'Job completed successfully' }],
    meta: { total: 4, totalPages: 2 },
  });
});

test("someone else's job, an unknown one and what is no id are all not found", async () => {
  const api = await startApi();
  const [owner, stranger] = [await api.newUser(), await api.newUser()];
  const { id } = await create(api, owner.token);
  for (const path of [id, randomUUID(), 'cmpc20vzh0000x4ubhy1vc7so', `${id}x`, '%00']) {
    for (const [method, suffix] of [
      ['GET', ''],
      ['DELETE', ''],
      ['GET', '/logs'],
      ['GET', '?minRevision=5'],
    ] as const) {
      const answer = await api.call(method, `/api/jobs/${path}${suffix}`, { token: stranger.token });
      expect(answer).toMatchObject(notFound);
    }
  }
  const own = await api.call('GET', `/api/jobs/${id.toUpperCase()}`, { token: owner.token });
  expect(own.body.data).toMatchObject({ id, status: 'PENDING' });
});
