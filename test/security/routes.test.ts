import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { CallOptions } from '../support/http-client.ts';
import { watchRoutes } from '../support/routes.ts';
import { startTarget } from '../support/target.ts';
import type { Target, TargetUser } from '../support/target.ts';
import { eventually } from '../support/waiting.ts';

/** Routes that are for everyone. */
const OPEN = [
  ...['register', 'login', 'refresh', 'logout'].map((path) => `POST /api/auth/${path}`),
  ...['GET /healthz', 'GET /readyz'],
];
/** Routes about everything that the caller has. */
const OWN = [
  ...['GET /api/jobs', 'POST /api/jobs', 'GET /api/stats'],
  ...['GET /api/webhooks/secret', 'POST /api/webhooks/secret'],
];
/** Routes about one job, which the path names. */
const ONE_JOB = /^[A-Z]+ \/api\/jobs\/:id(\/[\w-]+)*$/;

let target: Target;
let routes: string[];
let victim: TargetUser;
let intruder: TargetUser;
/** Jobs of the victim: one that has ended and one that waits. */
let ended: string;
let waiting: string;

beforeAll(async () => {
  const listRoutes = watchRoutes();
  target = await startTarget();
  routes = listRoutes();
  [victim, intruder] = [await target.newUser(), await target.newUser()];
  const submit = async (more: object): Promise<string> => {
    const job = { type: 'send-email', payload: { of: victim.id }, ...more };
    const { body } = await target.call('POST', '/api/jobs', { token: victim.apiKey, body: job });
    return (body.data as { id: string }).id;
  };
  // Nobody listens there: each attempt is refused, and on record.
  ended = await submit({ webhookUrl: 'http://127.0.0.1:9/' });
  waiting = await submit({ delayMs: 86_400_000 });
  const logs = () => target.call('GET', `/api/jobs/${ended}/webhook-logs`, { token: victim.apiKey });
  await eventually(async () => ((await logs()).body.data as unknown[]).length === 3, 30_000);
});
afterAll(() => target.stop());

// The cache has the victim's jobs.
beforeEach(async () => {
  for (const id of [ended, waiting]) await target.call('GET', `/api/jobs/${id}`, { token: victim.apiKey });
});

const call = (route: string, id = '', options: CallOptions = {}, query = '') => {
  const [method = '', path = ''] = route.split(' ');
  return target.call(method, path.replace(':id', id) + query, options);
};
/** With the victim's ids in the places that are left for them. */
const filled = <T extends object>(value: T): T =>
  JSON.parse(JSON.stringify(value).replaceAll('VICTIM', victim.id).replaceAll('JOB', waiting)) as T;
const eventCount = async () => (await target.database.query('SELECT count(*) FROM eventstore.events')).rows;

test('every route is known to this suite', () => {
  expect(routes.length).toBeGreaterThan(10);
  const unknown = routes.filter(
    (route) => !OPEN.includes(route) && !OWN.includes(route) && !ONE_JOB.test(route),
  );
  expect(unknown, 'Routes that no case looks at: put them where they belong').toEqual([]);
  for (const route of OPEN) expect(routes).toContain(route);
});

test('every route but the open ones wants a credential that is good', async () => {
  const before = await eventCount();
  for (const route of routes.filter((one) => !OPEN.includes(one))) {
    const credentials: CallOptions[] = [
      {},
      { token: '' },
      { token: victim.refreshToken },
      { token: `ak_${'A'.repeat(43)}` },
      { headers: { 'x-api-key': victim.accessToken } },
      { headers: { authorization: `Basic ${Buffer.from(`${victim.id}:x`).toString('base64')}` } },
      { headers: { cookie: `token=${victim.accessToken}; accessToken=${victim.accessToken}` } },
    ];
    for (const credential of credentials) {
      const { status, body } = await call(route, ended, credential, `?token=${victim.accessToken}`);
      expect([route, status, body.success]).toEqual([route, 401, false]);
    }
  }
  expect(await eventCount()).toEqual(before);
});

describe('a job of someone else', () => {
  /** What might let a stranger past the owner's check, or tell them of it. */
  const approaches: readonly (readonly [string, CallOptions])[] = [
    ['', {}],
    ['?minRevision=999', {}],
    ['?revision=0', {}],
    ['?at=2999-01-01T00:00:00.000Z', {}],
    ['?limit=1', {}],
    ['?force=true', {}],
    ['?userId=VICTIM', {}],
    ['', { headers: { 'if-match': '"0"' } }],
    ['', { headers: { 'if-match': '"999"' } }],
    ['', { headers: { 'if-none-match': '*' } }],
    ['', { headers: { 'x-user-id': 'VICTIM', 'x-forwarded-user': 'VICTIM' } }],
    ['', { body: { round: 1, userId: 'VICTIM' } }],
  ];

  test('is answered for as one that does not exist, on every route and in every way', async () => {
    const before = await eventCount();
    for (const route of routes.filter((one) => ONE_JOB.test(one))) {
      for (const [query, options] of approaches) {
        if (options.body !== undefined && /^(GET|DELETE)/.test(route)) continue;
        const given = filled({ ...options, token: intruder.apiKey });
        const ask = async (id: string) => {
          const { status, headers, body } = await call(route, id, given, query.replace('VICTIM', victim.id));
          return { status, body, headers: [...headers.keys()] };
        };
        const nothing = await ask(randomUUID());
        expect([route, query, nothing]).toMatchObject([
          route,
          query,
          { status: 404, body: { message: 'Job not found' } },
        ]);
        for (const id of [ended, waiting, ended.toUpperCase()])
          expect([route, query, await ask(id)]).toEqual([route, query, nothing]);
      }
    }
    expect(await eventCount()).toEqual(before);
  });

  test('is in none of the lists and counts of another user', async () => {
    for (const route of routes.filter((one) => OWN.includes(one) && one.startsWith('GET'))) {
      for (const query of [
        '',
        `?userId=${victim.id}`,
        `?user_id=${victim.id}&status=DONE`,
        '?limit=100&page=1',
      ]) {
        const { status, body } = await call(route, '', { token: intruder.apiKey }, query);
        expect([route, status]).toEqual([route, 200]);
        const text = JSON.stringify(body);
        for (const secret of [victim.id, ended, waiting, 'send-email'])
          expect(text, route).not.toContain(secret);
        if (body.meta !== undefined) expect(body.meta).toMatchObject({ total: 0 });
      }
    }
  });

  test('is there for its owner all the while', async () => {
    const { status, body } = await call('GET /api/jobs/:id', waiting, { token: victim.accessToken });
    expect([status, body.data]).toMatchObject([200, { status: 'PENDING', userId: victim.id }]);
  });
});

test('webhook secrets are each their own, before and after a rotation', async () => {
  const secretOf = async ({ apiKey: token }: TargetUser, method = 'GET') =>
    ((await target.call(method, '/api/webhooks/secret', { token })).body.data as { secret: string }).secret;
  const [own, other] = [await secretOf(victim), await secretOf(intruder)];
  expect(other).not.toBe(own);
  expect(await secretOf(intruder, 'POST')).not.toBe(other);
  expect(await secretOf(victim)).toBe(own);
});

describe('a submission', () => {
  test.each<readonly [string, object]>([
    ['for someone else', { userId: 'VICTIM', user_id: 'VICTIM', user: { id: 'VICTIM' }, actor: 'VICTIM' }],
    ['in place of a job of theirs', { id: 'JOB', jobId: 'JOB', _id: 'JOB' }],
    [
      'that has ended already',
      {
        status: 'DONE',
        result: { paid: true },
        attempt: 99,
        round: 7,
        revision: 5,
        error: 'x',
        cancelRequested: true,
      },
    ],
    [
      'from another time',
      { createdAt: '2001-01-01T00:00:00Z', updatedAt: '2001-01-01T00:00:00Z', dueAt: '2001-01-01T00:00:00Z' },
    ],
    [
      'with workings of the service',
      { execution: { id: 'x' }, executionId: 'x', workerId: 'x', takeovers: -1, webhook: true },
    ],
  ])('%s is one of the caller, new and pending', async (_, more) => {
    const began = Date.now();

    const body = { type: 'later', payload: {}, delayMs: 86_400_000, ...filled(more) };
    const answer = await target.call('POST', '/api/jobs', { token: intruder.apiKey, body });
    const job = answer.body.data as { id: string; createdAt: string };
    expect(answer.status).toBe(201);
    expect(job).toMatchObject({
      userId: intruder.id,
      status: 'PENDING',
      result: null,
      attempt: 1,
      round: 1,
      error: null,
    });
    expect(job.id).not.toBe(waiting);
    expect(Date.parse(job.createdAt)).toBeGreaterThanOrEqual(began - 1_000);
    expect(answer.headers.get('etag')).toBe('"0"');
    expect((await target.call('GET', `/api/jobs/${job.id}`, { token: victim.apiKey })).status).toBe(404);
  });

  test("with someone else's Idempotency-Key is one's own job, and theirs stays theirs", async () => {
    const headers = { 'idempotency-key': randomUUID() };
    const submit = async ({ apiKey: token }: TargetUser) => {
      const body = { type: 'later', payload: {}, delayMs: 86_400_000 };
      const answer = await target.call('POST', '/api/jobs', { token, body, headers });
      return { ...(answer.body.data as { id: string }), replayed: answer.headers.get('idempotent-replayed') };
    };
    const [theirs, own] = [await submit(victim), await submit(intruder)];
    expect(own.id).not.toBe(theirs.id);
    expect(own.replayed).toBeNull();
    expect(await submit(victim)).toMatchObject({ id: theirs.id, replayed: 'true' });
  });
});
