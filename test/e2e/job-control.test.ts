import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { httpClient } from '../support/http-client.ts';
import { startService } from '../support/service.ts';
import type { ServiceSettings } from '../support/service.ts';
import { eventually } from '../support/waiting.ts';

interface JobData {
  readonly id: string;
  readonly status: string;
  readonly [field: string]: unknown;
}

const handlers = {
  'spin.mjs': `export default { type: 'spin', run(_, ctx) { ctx.log('spinning'); for (;;); } };`,
  'deaf.mjs': `export default { type: 'deaf', run: (_, ctx) => { ctx.log('not listening'); return new Promise(() => setInterval(() => {}, 1000)); } };`,
  'polite.mjs': `export default { type: 'polite', run: (_, { signal, log }) => new Promise((_, reject) => {
    log('listening');
    signal.addEventListener('abort', () => { log('told: ' + signal.reason.message); reject(signal.reason); });
    setInterval(() => {}, 1000);
  }) };`,
  'quick.mjs': `export default { type: 'quick', run: () => Promise.resolve('done') };`,
  'broken.mjs': `export default { type: 'broken', maxAttempts: 1, run: () => Promise.reject(new Error('broken')) };`,
} as const;

/** A service with the handlers above, and one user of it. It runs one job at a time: a place that is not freed shows. */
async function start(settings: ServiceSettings = {}) {
  const dir = await mkdtemp(path.join(tmpdir(), 'asyncly-handlers-'));
  for (const [file, code] of Object.entries(handlers)) await writeFile(path.join(dir, file), code);
  const limits = { RATE_LIMIT_JOBS_PER_MINUTE: '1000' };
  const service = await startService({ HANDLERS_DIR: dir, ...limits, ...settings });
  const stop = async (): Promise<void> => {
    await service.stop();
    await rm(dir, { recursive: true });
  };
  const call = httpClient(`${service.base}/api`);
  const newUser = async (): Promise<string> => {
    const body = { email: `${randomUUID()}@example.com`, password: 'securepassword123' };
    return ((await call('POST', '/auth/register', { body })).body.data as { apiKey: string }).apiKey;
  };
  const token = await newUser();
  const submit = async (type: string, options: object = {}): Promise<JobData> => {
    const { status, body } = await call('POST', '/jobs', { token, body: { type, payload: {}, ...options } });
    expect(status).toBe(201);
    return body.data as JobData;
  };
  const get = async (id: string): Promise<JobData> =>
    (await call('GET', `/jobs/${id}`, { token })).body.data as JobData;
  const reaches = (id: string, status: string, withinMs = 20_000): Promise<JobData> =>
    eventually(async () => {
      const job = await get(id);
      return job.status === status && job;
    }, withinMs);
  const logOf = async (id: string): Promise<string[]> =>
    ((await call('GET', `/jobs/${id}/logs`, { token })).body.data as { message: string }[]).map(
      ({ message }) => message,
    );
  const says = (id: string, line: string) => eventually(async () => (await logOf(id)).includes(line));
  const cancel = (id: string, query = '?force=true', as = token) =>
    call('DELETE', `/jobs/${id}${query}`, { token: as });
  return { call, token, newUser, submit, reaches, says, cancel, stop };
}

let service: Awaited<ReturnType<typeof start>>;
beforeAll(async () => {
  service = await start({ WORKER_CONCURRENCY: '1' });
});
afterAll(() => service.stop());

test('a failed or cancelled job is submitted again on demand, in a new round', async () => {
  const { call, token, newUser, submit, reaches, cancel } = service;
  const { id } = await submit('broken');
  expect(await reaches(id, 'FAILED')).toMatchObject({ round: 1, error: 'broken' });
  const retry = (as = token, headers = {}) => call('POST', `/jobs/${id}/retry`, { token: as, headers });

  expect(await retry(await newUser())).toMatchObject({ status: 404, body: { message: 'Job not found' } });
  expect((await retry(token, { 'if-match': '"0"' })).status).toBe(412);
  expect(await retry()).toMatchObject({
    status: 200,
    body: {
      success: true,
      message: 'Job submitted again',
      data: { id, status: 'PENDING', round: 2, attempt: 1, error: null, type: 'broken', payload: {} },
    },
  });
  await eventually(async () => (await reaches(id, 'FAILED')).round === 2);

  const later = await submit('quick', { delayMs: 3_600_000 });
  expect((await cancel(later.id, '')).body.data).toMatchObject({ status: 'CANCELLED' });
  expect((await call('POST', `/jobs/${later.id}/retry`, { token })).status).toBe(200);
  await reaches(later.id, 'DONE');
  expect(await call('POST', `/jobs/${later.id}/retry`, { token })).toMatchObject({
    status: 400,
    body: {
      success: false,
      message: 'Cannot retry job with status DONE. Only FAILED and CANCELLED jobs can be retried.',
    },
  });
  expect((await call('POST', `/jobs/${randomUUID()}/retry`, { token })).status).toBe(404);
});

test('a submission says how often, how long and when, and the job shows it', async () => {
  const { call, token, submit, reaches } = service;
  const job = await submit('quick', { maxAttempts: 7, timeoutMs: 5_000, delayMs: 700 });
  expect(job).toMatchObject({
    maxAttempts: 7,
    timeoutMs: 5_000,
    round: 1,
    attempt: 1,
    error: null,
    cancelRequested: false,
    runAt: expect.any(String) as string,
  });
  const runAt = Date.parse(job['runAt'] as string);
  // The wait begins when the request is read, a moment before the event is written.
  expect(runAt).toBeLessThanOrEqual(Date.parse(job['createdAt'] as string) + 700);
  const done = await reaches(job.id, 'DONE');
  expect(Date.parse(done['updatedAt'] as string)).toBeGreaterThanOrEqual(runAt);

  const inAYear = new Date(Date.now() + 364 * 86_400_000);
  expect(await submit('quick', { runAt: inAYear.toISOString() })).toMatchObject({
    runAt: inAYear.toISOString(),
  });
  expect(await submit('quick', { runAt: '2020-05-19T12:00:00+02:00' })).toMatchObject({
    runAt: null,
  });
  expect(await submit('quick', { delayMs: 0, runAt: null, maxAttempts: null })).toMatchObject({
    runAt: null,
  });

  for (const [options, field] of [
    [{ maxAttempts: 0 }, 'maxAttempts'],
    [{ maxAttempts: 101 }, 'maxAttempts'],
    [{ maxAttempts: 1.5 }, 'maxAttempts'],
    [{ maxAttempts: '3' }, 'maxAttempts'],
    [{ timeoutMs: 0 }, 'timeoutMs'],
    [{ timeoutMs: 86_400_001 }, 'timeoutMs'],
    [{ delayMs: -1 }, 'delayMs'],
    [{ delayMs: 31_536_000_001 }, 'delayMs'],
    [{ delayMs: 1, runAt: inAYear.toISOString() }, 'delayMs'],
    [{ runAt: new Date(Date.now() + 366 * 86_400_000).toISOString() }, 'runAt'],
    [{ runAt: 'tomorrow' }, 'runAt'],
    [{ runAt: '2026-02-30T00:00:00Z' }, 'runAt'],
    [{ runAt: '2026-05-19T10:00:00' }, 'runAt'],
    [{ runAt: 1_800_000_000 }, 'runAt'],
  ] as const) {
    const { status, body } = await call('POST', '/jobs', {
      token,
      body: { type: 'quick', payload: {}, ...options },
    });
    expect([options, status]).toEqual([options, 400]);
    expect(Object.keys(body.errors ?? {})).toEqual([field]);
  }
});

test("the submission's time limit ends even a loop, and its attempts count", async () => {
  const { submit, reaches } = service;
  const { id } = await submit('spin', { timeoutMs: 200, maxAttempts: 2 });
  expect(await reaches(id, 'FAILED')).toMatchObject({ attempt: 2, error: 'Timed out after 200 ms' });
});

test('a running job is asked to stop, and ends cancelled', async () => {
  const { submit, reaches, says, cancel, newUser } = service;
  const { id } = await submit('polite');
  await says(id, 'listening');
  expect(await cancel(id, '')).toMatchObject({
    status: 400,
    body: { message: 'Cannot cancel job with status PROCESSING. Only PENDING jobs can be cancelled.' },
  });
  expect((await cancel(id, '?force=true', await newUser())).status).toBe(404);
  const { status, body, headers } = await cancel(id);
  expect(status).toBe(200);
  expect(headers.get('etag')).toBe('"2"');
  expect(body).toEqual({
    success: true,
    message: 'Job cancellation requested',
    data: { id, status: 'PROCESSING', cancelRequested: true, updatedAt: expect.any(String) as string },
  });
  expect(await reaches(id, 'CANCELLED', 10_000)).toMatchObject({ cancelRequested: false, result: null });
  await says(id, 'told: the job is cancelled');
  expect((await cancel(id)).body.message).toBe(
    'Cannot cancel job with status CANCELLED. Only PENDING and PROCESSING jobs can be cancelled.',
  );
});

test('force cancels a pending job at once, and says nothing but true or false', async () => {
  const { submit, cancel } = service;
  const { id } = await submit('quick', { delayMs: 3_600_000 });
  for (const query of ['?force=yes', '?force=', '?force=true&force=true', '?force=1']) {
    const { status, body } = await cancel(id, query);
    expect([query, status, Object.keys(body.errors ?? {})]).toEqual([query, 400, ['force']]);
  }
  expect((await cancel(id)).body).toMatchObject({
    message: 'Job cancelled successfully',
    data: { id, status: 'CANCELLED' },
  });
});

test.each(['spin', 'deaf'])(
  'a handler that does not listen (%s) is ended, and its place is free again',
  async (type) => {
    const { submit, reaches, says, cancel } = service;
    const { id } = await submit(type);
    await says(id, type === 'spin' ? 'spinning' : 'not listening');
    const { body } = await cancel(id);
    expect(body.data).toMatchObject({ status: 'PROCESSING', cancelRequested: true });
    await reaches(id, 'CANCELLED', 10_000);
    const next = await submit('quick');
    await reaches(next.id, 'DONE');
  },
);
