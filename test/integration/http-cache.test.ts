import { randomUUID } from 'node:crypto';
import { expect, onTestFinished, test } from 'vitest';
import { createJobCommandHandler } from '../../src/commands/handle-command.ts';
import type { HandleJobCommand } from '../../src/commands/handle-command.ts';
import type { EventStore } from '../../src/events/event-store.ts';
import { startCacheFollower } from '../../src/queries/cache-follower.ts';
import { silentLogger } from '../support/database.ts';
import { startApi } from '../support/http.ts';
import { createTestStore, stored } from '../support/store.ts';
import { events } from '../support/job-spec.ts';
import { createGate, eventually } from '../support/waiting.ts';

type Api = Awaited<ReturnType<typeof startApi>>;

const context = { actor: { kind: 'worker', id: 'w' }, correlationId: 'c', causationId: 'c' } as const;

async function submit({ call }: Api, token: string): Promise<string> {
  const { body } = await call('POST', '/api/jobs', { token, body: { type: 't', payload: { n: 1 } } });
  return (body.data as { id: string }).id;
}

/** The job's start, sent by some worker. @returns the execution */
async function start(handle: HandleJobCommand, jobId: string): Promise<string> {
  const executionId = randomUUID();
  const start = { round: 1, attempt: 1, executionId, workerId: 'w', heartbeat: 1, supersedes: null } as const;
  await handle(jobId, { type: 'StartJob', ...start, defaultMaxAttempts: 3, backoffMs: 1 }, context);
  return executionId;
}

const get = ({ call }: Api, token: string, id: string, headers: Record<string, string> = {}) =>
  call('GET', `/api/jobs/${id}`, { token, headers });

/** Reads until the answer comes from the cache. */
const hit = (api: Api, token: string, id: string) =>
  eventually(async () => {
    const answer = await get(api, token, id);
    return answer.headers.get('x-cache') === 'HIT' && answer;
  });

test('a job is served from the cache, and only to its owner', async () => {
  const api = await startApi();
  const [owner, stranger] = [await api.newUser(), await api.newUser()];
  const id = await submit(api, owner.token);
  const answer = await hit(api, owner.token, id);
  expect(answer.body).toMatchObject({
    message: 'Job retrieved successfully',
    data: { id, payload: { n: 1 } },
  });
  expect(answer.headers.get('cache-control')).toBe('private, no-cache');
  expect(await get(api, stranger.token, id)).toMatchObject({
    status: 404,
    body: { message: 'Job not found' },
  });
});

test('what this process wrote is in the very next answer', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  const id = await submit(api, token);
  await hit(api, token, id);
  const executionId = await start(api.handleJob, id);
  expect((await get(api, token, id)).body.data).toMatchObject({ status: 'PROCESSING' });
  await api.handleJob(id, { type: 'CompleteJob', executionId, result: 7 }, context);
  expect((await hit(api, token, id)).body.data).toMatchObject({ status: 'DONE', result: 7 });
});

test('what another process wrote is there a moment later', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  const id = await submit(api, token);
  await hit(api, token, id);
  await start(api.handleElsewhere, id);
  const cached = await eventually(async () => {
    const answer = await hit(api, token, id);
    return answer.headers.get('etag') === '"1"' && answer;
  });
  expect(cached.body.data).toMatchObject({ status: 'PROCESSING' });
});

test('minRevision is not answered by an older entry', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  const id = await submit(api, token);
  await hit(api, token, id);
  await start(api.handleElsewhere, id);
  const answer = await api.call('GET', `/api/jobs/${id}?minRevision=1`, { token });
  expect(answer).toMatchObject({ status: 200, body: { data: { status: 'PROCESSING' } } });
});

test('who has the state already is told so, and by its tag alone', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  const id = await submit(api, token);
  for (const [tag, status] of [
    ['"0"', 304],
    ['W/"0"', 304],
    ['"7", "0"', 304],
    ['*', 304],
    ['"1"', 200],
    ['0', 200],
    ['""', 200],
    ['', 200],
  ] as const) {
    const answer = await get(api, token, id, { 'if-none-match': tag });
    expect([tag, answer.status]).toEqual([tag, status]);
    expect(answer.headers.get('etag')).toBe('"0"');
    if (status === 304) expect(answer.body).toEqual({});
  }
  await start(api.handleJob, id);
  expect((await get(api, token, id, { 'if-none-match': '"0"' })).status).toBe(200);
  const stranger = await api.newUser();
  expect((await get(api, stranger.token, id, { 'if-none-match': '*' })).status).toBe(404);
});

test('a command with If-Match does nothing to a job that has moved on', async () => {
  const api = await startApi();
  const { token } = await api.newUser();
  const id = await submit(api, token);
  const cancel = (tag: string, as = token) =>
    api.call('DELETE', `/api/jobs/${id}`, { token: as, headers: { 'if-match': tag } });
  for (const tag of ['"1"', 'W/"0"', 'nonsense', '']) {
    expect([tag, await cancel(tag)]).toMatchObject([
      tag,
      { status: 412, body: { success: false, message: 'The job has moved on: it is at revision 0' } },
    ]);
  }
  expect((await cancel('"5"', (await api.newUser()).token)).status).toBe(404);
  expect(await cancel('"9", "0"')).toMatchObject({ status: 200, body: { data: { status: 'CANCELLED' } } });
  expect((await cancel('*')).status).toBe(400);
});

test('If-Match is checked by the append: a start that comes in between wins', async () => {
  let racing: HandleJobCommand | null = null;
  const api: Api = await startApi({
    handleJob: (...given) => (racing ?? api.handleJob)(...given),
  });
  const { token } = await api.newUser();
  const id = await submit(api, token);
  let overtaken = false;
  // Another worker starts the job after the command has decided and before it writes.
  racing = createJobCommandHandler({
    ...readsOf(api.store),
    append: async (...given) => {
      if (!overtaken) await start(api.handleElsewhere, id);
      overtaken = true;
      return api.store.append(...given);
    },
  });
  const headers = { 'if-match': '"0"' };
  expect((await api.call('DELETE', `/api/jobs/${id}`, { token, headers })).status).toBe(412);
  expect((await api.store.read(`job-${id}`)).map(({ type }) => type)).toEqual(['JobCreated', 'JobStarted']);
});

function readsOf(store: EventStore): Omit<EventStore, 'append'> {
  return {
    read: (...given) => store.read(...given),
    subscribe: (...given) => store.subscribe(...given),
    head: () => store.head(),
    close: () => store.close(),
  };
}

test('a follower vouches for nothing while it lags or the store does not answer', async () => {
  const testStore = await createTestStore();
  const { store } = testStore;
  let stalled = false;
  const observed: string[] = [];
  let confirmed = Number.NEGATIVE_INFINITY;
  const flowing = createGate();
  const stalling: EventStore = {
    ...readsOf(store),
    append: (...given) => store.append(...given),
    async *subscribe(options) {
      for await (const message of store.subscribe(options)) {
        if (stalled) await flowing.opened;
        yield message;
      }
    },
  };
  const follower = await startCacheFollower({
    store: stalling,
    logger: silentLogger,
    sink: {
      observe: (batch) => {
        observed.push(...batch.map(({ type }) => type));
      },
      confirm: (at) => {
        confirmed = Math.max(confirmed, at);
      },
    },
  });
  onTestFinished(async () => {
    flowing.open();
    await follower.stop();
    await testStore.drop();
  });
  const start = performance.now();
  await eventually(() => confirmed > start);

  stalled = true;
  const jobId = randomUUID();
  await store.append(`job-${jobId}`, [stored(events.created({ jobId }))], { expected: 'no_stream' });
  const written = performance.now();
  // Probes go on meanwhile, and each of them finds the follower behind.
  await eventually(() => performance.now() > written + 600);
  expect(confirmed).toBeLessThan(written);
  expect(observed).toEqual([]);

  flowing.open();
  await eventually(() => confirmed > written);
  expect(observed).toEqual(['JobCreated']);
});
