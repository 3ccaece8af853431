import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { eventCodec } from '../../src/events/codec.ts';
import type { RecordedEvent } from '../../src/events/event-store.ts';
import { jobLogStream, jobStream } from '../../src/events/job.ts';
import { jobEventView } from '../../src/http/routes/job-event-view.ts';
import { openStore, STORE_KINDS } from '../support/both-stores.ts';
import { startApi } from '../support/http.ts';
import { expectedTrail, expectedView } from '../support/job-oracle.ts';
import { events, JOB_ID } from '../support/job-spec.ts';
import { recordHistories, streamsOf } from '../support/recorded-histories.ts';
import type { RecordedJob } from '../support/recorded-histories.ts';
import { stored } from '../support/store.ts';

type Api = Awaited<ReturnType<typeof startApi>>;
interface Meta {
  readonly limit: number;
  readonly hasNextPage: boolean;
  readonly nextCursor: string;
}

const lifeOf = ({ id, events }: RecordedJob): RecordedEvent[] => streamsOf(events).get(jobStream(id)) ?? [];
const notFound = { status: 404, body: { success: false, message: 'Job not found' } };
const at = (second: number): string => `2026-05-19T10:00:0${second}.000Z`;

/** An api whose store has random jobs of one user. */
async function withJobs(kind: (typeof STORE_KINDS)[number], jobs: number) {
  const api = await startApi({}, (test) => openStore(kind, test));
  const user = await api.newUser();
  const recorded = await recordHistories(api.store, { jobs, seed: 7, userId: user.id });
  return { ...api, ...user, jobs: recorded };
}

/** One job that was started: three events at seconds 0, 2 and 2. */
async function withOneJob() {
  const api = await startApi();
  const user = await api.newUser();
  const life = [
    stored(events.created({ userId: user.id }), at(0)),
    stored(events.started(1), at(2)),
    stored(events.completed(1), at(2)),
  ];
  await api.store.append(jobStream(JOB_ID), life, { expected: 'no_stream' });
  return { ...api, ...user };
}

async function pageOf({ call }: Pick<Api, 'call'>, token: string, id: string, query = '') {
  const answer = await call('GET', `/api/jobs/${id}/events${query}`, { token });
  expect(answer.status).toBe(200);
  return { events: answer.body.data as Record<string, unknown>[], meta: answer.body.meta as Meta };
}

describe.each(STORE_KINDS)('on %s', (kind) => {
  test('a job is answered as it was, at every revision and time', async () => {
    const { call, token, jobs } = await withJobs(kind, 12);
    for (const job of jobs) {
      const life = lifeOf(job);
      for (const { revision, metadata } of life) {
        const then = await call('GET', `/api/jobs/${job.id}?revision=${revision}`, { token });
        expect(then).toMatchObject({
          status: 200,
          body: { success: true, message: 'Job retrieved successfully' },
        });
        expect(then.body.data).toEqual(expectedView(life.slice(0, revision + 1)));
        expect(then.headers.get('etag')).toBe(`"${revision}"`);
        const past = life.filter((event) => event.metadata.occurredAt <= metadata.occurredAt);
        const by = await call('GET', `/api/jobs/${job.id}?at=${metadata.occurredAt}`, { token });
        expect(by.body.data).toEqual(expectedView(past));
      }
    }
  });

  test('everything on record of a job is answered, in pages', async () => {
    const { call, token, jobs } = await withJobs(kind, 12);
    for (const [n, { id, events: recorded }] of jobs.entries()) {
      const expected = expectedTrail(recorded).map(jobEventView);
      const whole = await pageOf({ call }, token, id);
      expect(whole.events).toEqual(expected);
      expect(whole.meta).toEqual({
        limit: 100,
        hasNextPage: false,
        nextCursor: expect.any(String) as string,
      });
      const limit = 1 + (n % 4);
      const collected: unknown[] = [];
      let page = await pageOf({ call }, token, id, `?limit=${limit}`);
      collected.push(...page.events);
      while (page.meta.hasNextPage) {
        expect(page.events).toHaveLength(limit);
        page = await pageOf({ call }, token, id, `?limit=${limit}&cursor=${page.meta.nextCursor}`);
        collected.push(...page.events);
      }
      expect(collected).toEqual(expected);
      expect(await pageOf({ call }, token, id, `?cursor=${page.meta.nextCursor}`)).toMatchObject({
        events: [],
        meta: { hasNextPage: false, nextCursor: page.meta.nextCursor },
      });
    }
  });
});

test('the cursor of the last page goes on with what happens later', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  const created = await api.call('POST', '/api/jobs', { token, body: { type: 't', payload: { n: 1 } } });
  const { id } = created.body.data as { id: string };
  const first = await pageOf(api, token, id);
  expect(first.events).toMatchObject([
    {
      type: 'JobCreated',
      stream: `job-${id}`,
      revision: 0,
      schemaVersion: eventCodec.currentVersion('JobCreated'),
      actor: { kind: 'user' },
      correlationId: created.headers.get('x-request-id'),
      causationId: created.headers.get('x-request-id'),
      data: { payload: { n: 1 } },
    },
  ]);
  await api.call('DELETE', `/api/jobs/${id}`, { token });
  const second = await pageOf(api, token, id, `?cursor=${first.meta.nextCursor}`);
  expect(second.events).toMatchObject([{ type: 'JobCancelled', revision: 1 }]);
});

test('of the service behind it a job tells nothing', async () => {
  const { call, token, store } = await withOneJob();
  const line = { jobId: JOB_ID, round: 1, attempt: 1, executionId: randomUUID(), message: 'hello' };
  const logged = stored({ type: 'JobLogged', data: line }, at(2));
  const workerId = 'build-host-4711-5c1b2f3e';
  const metadata = { ...logged.metadata, actor: { kind: 'worker', id: workerId } as const };
  await store.append(jobLogStream(JOB_ID), [{ ...logged, metadata }], { expected: 'any' });
  const { events: trail } = await pageOf({ call }, token, JOB_ID);
  expect(trail.map(({ type }) => type)).toEqual(['JobCreated', 'JobStarted', 'JobLogged', 'JobCompleted']);
  expect(JSON.stringify(trail)).not.toMatch(/build-host|worker-1\b|heartbeat/);
});

test('what happened at the same time counts as a whole', async () => {
  const { call, token } = await withOneJob();
  const statusAt = async (time: string): Promise<unknown> => {
    const { body } = await call('GET', `/api/jobs/${JOB_ID}?at=${time}`, { token });
    return (body.data as { status: string }).status;
  };
  expect(await statusAt(at(0))).toBe('PENDING');
  expect(await statusAt('2026-05-19T10:00:01.999999Z')).toBe('PENDING');
  expect(await statusAt(at(2))).toBe('DONE');
  expect(await statusAt('2026-05-19T12:00:02%2B02:00')).toBe('DONE');
  expect(await statusAt('9999-12-31T23:59:59Z')).toBe('DONE');
});

test('a state that the job never was in is not found, and the answer says why', async () => {
  const { call, token } = await withOneJob();
  const before = await call('GET', `/api/jobs/${JOB_ID}?at=2026-05-19T09:59:59.999Z`, { token });
  expect(before.status).toBe(404);
  expect(before.body).toEqual({
    success: false,
    message: `The job did not exist yet at 2026-05-19T09:59:59.999Z: it was created at ${at(0)}`,
  });
  const beyond = await call('GET', `/api/jobs/${JOB_ID}?revision=3`, { token });
  expect(beyond.status).toBe(404);
  expect(beyond.body).toEqual({ success: false, message: 'The job has no revision 3: it is at revision 2' });
});

test('a past state can be asked for conditionally, and leaves the cache alone', async () => {
  const { call, token } = await withOneJob();
  const get = (query: string, headers: Record<string, string> = {}) =>
    call('GET', `/api/jobs/${JOB_ID}${query}`, { token, headers });
  const past = await get('?revision=1');
  expect(past.body.data).toMatchObject({ status: 'PROCESSING' });
  expect(past.headers.get('x-cache')).toBeNull();
  expect(past.headers.get('cache-control')).toBe('private, no-cache');
  expect(await get('?revision=1', { 'if-none-match': '"1"' })).toMatchObject({ status: 304 });
  expect(await get('?revision=1', { 'if-none-match': '"2"' })).toMatchObject({ status: 200 });
  expect(await get(`?at=${at(0)}`, { 'if-none-match': '"0"' })).toMatchObject({ status: 304 });
  const first = await get('');
  expect(first.headers.get('x-cache')).toBe('MISS');
  expect(first.headers.get('etag')).toBe('"2"');
  const current = [first, await get(''), await get('?revision=0'), await get('')];
  expect(current.map(({ body }) => (body.data as { status: string }).status)).toEqual([
    'DONE',
    'DONE',
    'PENDING',
    'DONE',
  ]);
});

const hostile = [
  ['', 'at=noon', ['at']],
  ['', 'at=', ['at']],
  ['', 'at=NaN', ['at']],
  ['', 'at=2026-05-19', ['at']],
  ['', 'at=2026-02-30T10:00:00Z', ['at']],
  ['', 'at=2026-05-19T10:00:00+02:00', ['at']],
  ['', `at=${at(0)}&at=${at(1)}`, ['at']],
  ['', 'at[]=x&at[$gt]=', null],
  ['', 'revision=-1', ['revision']],
  ['', 'revision=1.5', ['revision']],
  ['', 'revision=NaN', ['revision']],
  ['', 'revision=99999999999999999999', ['revision']],
  ['', 'revision=1&revision=2', ['revision']],
  ['', `at=${at(0)}&revision=1`, ['revision']],
  ['', 'revision=1&minRevision=1', ['minRevision']],
  ['', `at=${at(0)}&minRevision=0`, ['minRevision']],
  ['', 'at=noon&revision=x', ['at', 'revision']],
  ['/events', 'limit=0', ['limit']],
  ['/events', 'limit=1001', ['limit']],
  ['/events', 'limit=NaN', ['limit']],
  ['/events', 'limit=1&limit=2', ['limit']],
  ['/events', 'cursor=', ['cursor']],
  ['/events', 'cursor=garbage', ['cursor']],
  ['/events', 'cursor=a&cursor=b', ['cursor']],
  ['/events', `cursor=${'A'.repeat(12_000)}`, ['cursor']],
  ['/events', `cursor=${Buffer.from(`1.${randomUUID()}.0.0.`).toString('base64url')}`, ['cursor']],
] as const;

test('a query that makes no sense is refused, and the field named', async () => {
  const { call, token } = await withOneJob();
  for (const [suffix, query, fields] of hostile) {
    const answer = await call('GET', `/api/jobs/${JOB_ID}${suffix}?${query}`, { token });
    if (fields === null) {
      // Names that are not ours are ignored like any others.
      expect(answer.status).toBe(200);
      continue;
    }
    expect([query, answer.status]).toEqual([query, 400]);
    expect(answer.body.message).toBe('Validation error');
    expect(Object.keys(answer.body.errors ?? {})).toEqual(fields);
  }
});

test('a forged cursor leads nowhere but into the same job, and makes no work', async () => {
  const { call, token } = await withOneJob();
  const page = (place: string) => {
    const cursor = Buffer.from(`1.${JOB_ID}.${place}`).toString('base64url');
    return call('GET', `/api/jobs/${JOB_ID}/events?cursor=${cursor}`, { token });
  };
  // Beyond what the job has, as after a restored backup: later events would be missing.
  for (const place of ['4.0.', '2147483647.0.', '3.1.', '1.0.0*1000', '0.0.-']) {
    expect(await page(place)).toMatchObject({
      status: 400,
      body: { errors: { cursor: ['cursor must be a nextCursor of this job'] } },
    });
  }
  expect((await page('3.0.-')).body.data).toEqual([]);
  expect((await page('1.0.7')).body.data).toMatchObject([{ type: 'JobStarted' }, { type: 'JobCompleted' }]);
});

test("someone else's past is not found, like that of no job at all", async () => {
  const { call, token: owner, newUser, store } = await withOneJob();
  const { token } = await newUser();
  const { meta } = await pageOf({ call }, owner, JOB_ID, '?limit=1');
  const suffixes = [
    '/events',
    '/events?limit=5',
    `/events?cursor=${meta.nextCursor}`,
    '?revision=0',
    '?revision=99',
    `?at=${at(2)}`,
    '?at=1970-01-01T00:00:00Z',
  ];
  for (const suffix of suffixes) {
    expect(await call('GET', `/api/jobs/${JOB_ID}${suffix}`, { token })).toMatchObject(notFound);
  }
  for (const suffix of suffixes.filter((each) => !each.includes('cursor'))) {
    for (const id of [randomUUID(), 'nonsense', '%00']) {
      expect(await call('GET', `/api/jobs/${id}${suffix}`, { token: owner })).toMatchObject(notFound);
    }
    expect((await call('GET', `/api/jobs/${JOB_ID}${suffix}`)).status).toBe(401);
  }
  const byKey = await call('GET', `/api/jobs/${JOB_ID.toUpperCase()}/events`, {
    headers: { 'x-api-key': owner },
  });
  expect(byKey.body.data).toHaveLength(3);
  // A log without a job is nobody's.
  const orphan = randomUUID();
  const line = { jobId: orphan, round: 1, attempt: 1, executionId: randomUUID(), message: 'hello' };
  await store.append(jobLogStream(orphan), [stored({ type: 'JobLogged', data: line })], { expected: 'any' });
  expect(await call('GET', `/api/jobs/${orphan}/events`, { token: owner })).toMatchObject(notFound);
});
