import { randomUUID } from 'node:crypto';
import { expect, onTestFinished, test } from 'vitest';
import { jobStream } from '../../src/events/job.ts';
import { startProjector } from '../../src/projections/projector.ts';
import { jobStatsProjection } from '../../src/projections/job-stats.ts';
import type { JobStats } from '../../src/queries/job-stats.ts';
import { silentLogger } from '../support/database.ts';
import { startApi } from '../support/http.ts';
import { events } from '../support/job-spec.ts';
import { stored } from '../support/store.ts';
import { eventually } from '../support/waiting.ts';

type Api = Awaited<ReturnType<typeof startApi>>;
type Answered = JobStats & { readonly from: string; readonly to: string; readonly type: string | null };

function project({ store, database }: Api): void {
  const options = { store, database, logger: silentLogger, holder: randomUUID() };
  const projector = startProjector({ ...options, projections: [jobStatsProjection] });
  onTestFinished(() => projector.stop());
}

async function addJob(
  { store }: Api,
  userId: string,
  type: string,
  day: string,
  done = false,
): Promise<void> {
  const jobId = randomUUID();
  const story = [
    stored(events.created({ jobId, userId, type }), `${day}T10:00:00.000Z`),
    stored(events.started(1, { type }), `${day}T10:00:00.020Z`),
    stored(events.completed(1), `${day}T10:00:00.050Z`),
  ];
  await store.append(jobStream(jobId), done ? story : story.slice(0, 1), { expected: 'no_stream' });
}

async function statsOf({ call }: Api, token: string, query = ''): Promise<Answered> {
  const { status, body, headers } = await call('GET', `/api/stats${query}`, { token });
  expect(status).toBe(200);
  expect(headers.get('cache-control')).toBe('private, no-cache');
  expect(body).toMatchObject({ success: true, message: 'Job statistics retrieved successfully' });
  return body.data as Answered;
}

const today = (): string => new Date().toISOString().slice(0, 10);
const none = { count: 0, meanMs: null, p95Ms: null };
const nothing = { created: 0, done: 0, failed: 0, cancelled: 0, retried: 0, wait: none, run: none };
const exactly = (ms: number, count: number) => ({ count, meanMs: ms, p95Ms: ms });

test('one sees what happened to their own jobs, with an API key or an access token', async () => {
  const api = await startApi();
  project(api);
  const { id, apiKey, accessToken } = await api.registerUser();
  const stranger = await api.newUser();
  for (const day of ['2026-05-18', '2026-05-19', '2026-05-19'])
    await addJob(api, id, 'send-email', day, true);
  await addJob(api, id, 'other', '2026-05-19');
  await addJob(api, stranger.id, 'send-email', '2026-05-19');
  const span = '?from=2026-05-01&to=2026-05-31';
  await eventually(async () => (await statsOf(api, stranger.token, span)).totals.created === 1);

  const done = (jobs: number) => ({
    ...nothing,
    created: jobs,
    done: jobs,
    wait: exactly(20, jobs),
    run: exactly(30, jobs),
  });
  const all = {
    from: '2026-05-01',
    to: '2026-05-31',
    type: null,
    asOf: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string,
    totals: { ...done(3), created: 4 },
    days: [
      { day: '2026-05-18', type: 'send-email', ...done(1) },
      { day: '2026-05-19', type: 'other', ...nothing, created: 1 },
      { day: '2026-05-19', type: 'send-email', ...done(2) },
    ],
  };
  expect(await statsOf(api, apiKey, span)).toEqual(all);
  expect(await statsOf(api, accessToken, span)).toEqual(all);
  expect((await api.call('GET', `/api/stats${span}`, { headers: { 'x-api-key': apiKey } })).status).toBe(200);

  expect(await statsOf(api, apiKey, '?from=2026-05-19&to=2026-05-19&type=send-email')).toMatchObject({
    from: '2026-05-19',
    to: '2026-05-19',
    type: 'send-email',
    totals: done(2),
    days: [all.days[2]],
  });
  for (const query of ['?from=2026-05-20&to=2026-05-31', `${span}&type=send-emai`, `${span}&type=%25`])
    expect(await statsOf(api, apiKey, query)).toMatchObject({ totals: nothing, days: [] });
});

test('without a span it is the last 30 days; one end gives the other', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  const before = today();
  const { from, to, type, asOf } = await statsOf(api, token);
  expect([before, today()]).toContain(to);
  expect(Date.parse(to) - Date.parse(from)).toBe(29 * 86_400_000);
  expect(type).toBeNull();
  // Nothing has ever happened here.
  expect(asOf).not.toBeNull();
  expect(await statsOf(api, token, '?to=2024-03-01')).toMatchObject({ from: '2024-02-01', to: '2024-03-01' });
  const yesterday = new Date(Date.now() - 86_400_000).toISOString().slice(0, 10);
  expect(await statsOf(api, token, `?from=${yesterday}`)).toMatchObject({ from: yesterday });
  expect(await statsOf(api, token, '?from=2023-12-31&to=2024-12-30')).toMatchObject({ days: [] });
  expect(await statsOf(api, token, '?from=9999-01-01&to=9999-12-31')).toMatchObject({ days: [] });
});

test('what is wrong with a query is named by field', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  const notDate = (name: string) => ({ [name]: [`${name} must be a date such as 2026-05-19`] });
  for (const [query, errors] of [
    ['from=yesterday', notDate('from')],
    ['to=2026-02-30', notDate('to')],
    ['to=2026-05-19T00:00:00Z', notDate('to')],
    ['from=2026-5-1', notDate('from')],
    ['from=', notDate('from')],
    ['from=2026-05-01&from=2026-05-02', notDate('from')],
    ['to=%00', notDate('to')],
    [
      'from=0000-01-01&to=0000-01-02',
      {
        from: ['from must not be before 1970-01-01'],
        to: ['to must not be before 1970-01-01'],
      },
    ],
    ['from=2026-05-02&to=2026-05-01', { from: ['from must not be after to'] }],
    ['from=9999-12-31', { from: ['from must not be after to'] }],
    ['from=2024-01-01&to=2025-01-01', { from: ['The span must have at most 366 days'] }],
    ['from=1970-01-01&to=9999-12-31', { from: ['The span must have at most 366 days'] }],
    ['type=', { type: ['type must be given once, and not be empty'] }],
    ['type=a&type=b', { type: ['type must be given once, and not be empty'] }],
    ['type=%00', { type: ['Job type must not contain control characters'] }],
    [`type=${'x'.repeat(101)}`, { type: ['Job type must be at most 100 characters'] }],
  ] as const) {
    const { status, body } = await api.call('GET', `/api/stats?${query}`, { token });
    expect({ query, status, body }).toEqual({
      query,
      status: 400,
      body: { success: false, message: 'Validation error', errors },
    });
  }
});

test('who asks has to show it', async () => {
  const api = await startApi();
  for (const [token, message] of [
    [undefined, 'Access token required'],
    ['nonsense', 'Access token required'],
    [`ak_${'x'.repeat(43)}`, 'Invalid API key'],
  ] as const) {
    const answer = await api.call('GET', '/api/stats', token === undefined ? {} : { token });
    expect(answer).toMatchObject({ status: 401, body: { success: false, message } });
  }
  const { token } = await api.newUser();
  expect((await api.call('POST', '/api/stats', { token, body: {} })).status).toBe(404);
  expect((await api.call('GET', '/api/stats/x', { token })).status).toBe(404);
});

test('too much for one answer is refused, and what to do about it is said', async () => {
  const api = await startApi();
  const { id, token } = await api.newUser();
  const addRows = (first: number, last: number) =>
    api.database.query(
      `INSERT INTO job_stats SELECT $1, '2026-05-19', 'type-' || n, 1, 0, 0, 0, 0, 0, 0, NULL, '{}', '{}', 0, 0, NULL, '{}', '{}'
       FROM generate_series($2::integer, $3::integer) AS n`,
      [id, first, last],
    );
  await addRows(1, 5_000);
  const span = '?from=2026-05-01&to=2026-05-31';
  const { totals, days } = await statsOf(api, token, span);
  expect([totals.created, days.length]).toEqual([5_000, 5_000]);
  await addRows(5_001, 5_001);
  const advice = 'The span has more than 5,000 entries of a day and a type: give a shorter one, or a type';
  expect(await api.call('GET', `/api/stats${span}`, { token })).toMatchObject({
    status: 400,
    body: { message: 'Validation error', errors: { from: [advice] } },
  });
  expect(await statsOf(api, token, `${span}&type=type-5001`)).toMatchObject({ totals: { created: 1 } });
});
