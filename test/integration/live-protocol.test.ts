import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { createMemoryJobCache } from '../../src/infrastructure/memory/job-cache.ts';
import { createCachedJobs } from '../../src/queries/cached-jobs.ts';
import type { CachedJobs } from '../../src/queries/cached-jobs.ts';
import { createJobQueries } from '../../src/queries/jobs.ts';
import { silentLogger } from '../support/database.ts';
import { events } from '../support/job-spec.ts';
import { startLive } from '../support/live.ts';
import { createGate, eventually } from '../support/waiting.ts';

test('a job is followed from its submission to its end, revisions without a gap', async () => {
  const live = await startLive();
  const user = await live.newUser();
  const client = await live.connect(user.token);
  expect(client.messages[0]).toEqual({
    type: 'connected',
    message: 'WebSocket connected successfully',
    cursor: expect.any(String) as string,
  });
  const job = await live.newJob(user.id);
  const subscribed = await client.subscribe(job.id);
  expect(subscribed).toEqual({
    type: 'subscribed',
    jobId: job.id,
    status: 'PENDING',
    revision: 0,
    cursor: expect.any(String) as string,
  });
  await live.run(job, 2);
  const done = await client.message('job:done', job.id);
  expect(done).toMatchObject({ status: 'DONE', result: { sent: true }, revision: 4, attempt: 2 });
  const told = client.messages.slice(2);
  expect(told.map(({ type }) => type)).toEqual([
    'job:processing',
    'job:log',
    'job:retrying',
    'job:processing',
    'job:log',
    'job:done',
  ]);
  expect(told.filter(({ type }) => type !== 'job:log').map(({ revision }) => revision)).toEqual([1, 2, 3, 4]);
  expect(told.filter(({ type }) => type === 'job:log').map(({ logRevision }) => logRevision)).toEqual([0, 1]);
  expect(new Set(told.map(({ cursor }) => cursor)).size).toBe(told.length);
});

test('what a message tells of is in the cache when the client reads, before the follower of the cache has seen it', async () => {
  const cached: { jobs?: CachedJobs } = {};
  const live = await startLive({ observe: (events) => cached.jobs!.observe(events) });
  const { store, database } = live;
  const jobs = createJobQueries({ database, store });
  // Nobody follows the store for it: but for the live feed it would go on serving what it has.
  const cache = createCachedJobs({ jobs, cache: createMemoryJobCache(), logger: silentLogger });
  cached.jobs = cache;
  const read = async (userId: string, jobId: string) => {
    cache.confirm(performance.now());
    return cache.jobs.find(jobId, userId);
  };
  const user = await live.newUser();
  const client = await live.connect(user.token);
  const job = await live.newJob(user.id);
  await client.subscribe(job.id);
  await read(user.id, job.id);
  expect(await read(user.id, job.id)).toMatchObject({ cached: true, job: { status: 'PENDING' } });
  await job.append(events.started(1));
  await client.message('job:processing', job.id);
  expect(await read(user.id, job.id)).toMatchObject({ cached: false, job: { status: 'PROCESSING' } });
  expect(await read(user.id, job.id)).toMatchObject({ cached: true, job: { status: 'PROCESSING' } });
});

test('who subscribes late is told of the state, and of the event that led to it', async () => {
  const live = await startLive();
  const user = await live.newUser();
  const client = await live.connect(user.token);
  const [running, ended] = [await live.newJob(user.id), await live.newJob(user.id)];
  await running.append(events.started(1));
  await live.run(ended, 2);
  expect(await client.subscribe(running.id)).toMatchObject({ status: 'PROCESSING', revision: 1 });
  expect(await client.message('job:processing', running.id)).toMatchObject({ revision: 1 });
  expect(await client.subscribe(ended.id)).toMatchObject({ status: 'DONE', revision: 4 });
  expect(await client.message('job:done', ended.id)).toMatchObject({ revision: 4 });
  await running.append(events.completed(1));
  await client.message('job:done', running.id);
  expect(client.messages.filter(({ jobId }) => jobId === running.id).map(({ type }) => type)).toEqual([
    'subscribed',
    'job:processing',
    'job:done',
  ]);
});

test("nobody follows another user's job, or one that does not exist", async () => {
  const live = await startLive();
  const [user, other] = [await live.newUser(), await live.newUser()];
  const job = await live.newJob(other.id);
  const client = await live.connect(user.token);
  client.send({ type: 'subscribe', scope: 'all' });
  await client.message('subscribed');
  for (const jobId of [job.id, randomUUID(), 'cmpc20vzh0000x4ubhy1vc7so']) {
    client.send({ type: 'subscribe', jobId });
    expect(await client.message('error', jobId)).toMatchObject({
      message: 'Job not found',
      code: 'JOB_NOT_FOUND',
    });
  }
  await live.run(job);
  const own = await live.newJob(user.id);
  await client.message('job:created', own.id);
  expect(client.messages.filter(({ type, jobId }) => type.startsWith('job:') && jobId === job.id)).toEqual(
    [],
  );
});

test('not even while it is being found out whose job it is', async () => {
  const asked = createGate();
  const answer = createGate();
  const live = await startLive({
    wrapStore: (store) => ({
      ...store,
      async read(stream, options) {
        if (stream.endsWith(foreignId)) {
          asked.open();
          await answer.opened;
        }
        return store.read(stream, options);
      },
    }),
  });
  let foreignId = 'none yet';
  const [user, other] = [await live.newUser(), await live.newUser()];
  const job = await live.newJob(other.id);
  const [client, owner] = [await live.connect(user.token), await live.connect(other.token)];
  client.send({ type: 'subscribe', scope: 'all' });
  await client.message('subscribed');
  await owner.subscribe(job.id);
  foreignId = job.id;
  client.send({ type: 'subscribe', jobId: job.id });
  await asked.opened;
  await live.run(job);
  await owner.message('job:done', job.id);
  answer.open();
  await client.message('error', job.id);
  const own = await live.newJob(user.id);
  await client.message('job:created', own.id);
  expect(client.messages.filter(({ type, jobId }) => type.startsWith('job:') && jobId === job.id)).toEqual(
    [],
  );
});

test('what a client has left is silent, by id and by scope', async () => {
  const live = await startLive();
  const user = await live.newUser();
  const client = await live.connect(user.token);
  const [left, kept] = [await live.newJob(user.id), await live.newJob(user.id)];
  for (const job of [left, kept]) await client.subscribe(job.id);
  client.send({ type: 'unsubscribe', jobId: left.id });
  expect(await client.message('unsubscribed')).toMatchObject({ jobId: left.id });
  await live.run(left);
  await live.run(kept);
  await client.message('job:done', kept.id);
  expect(client.messages.filter(({ type, jobId }) => type.startsWith('job:') && jobId === left.id)).toEqual(
    [],
  );

  client.send({ type: 'subscribe', scope: 'all' });
  await eventually(() => client.messages.some(({ type, scope }) => type === 'subscribed' && scope === 'all'));
  client.send({ type: 'unsubscribe', scope: 'all' });
  await eventually(() =>
    client.messages.some(({ type, scope }) => type === 'unsubscribed' && scope === 'all'),
  );
  const [silent, last] = [await live.newJob(user.id), await live.newJob(user.id)];
  await live.run(silent);
  await live.run(last);
  client.send({ type: 'subscribe', jobId: last.id });
  await client.message('job:done', last.id);
  expect(client.messages.filter(({ jobId }) => jobId === silent.id)).toEqual([]);
});

test('what a client says wrongly is named, and the connection stays', async () => {
  const live = await startLive();
  const client = await live.connect((await live.newUser()).token);
  const wrong: [string | object, string][] = [
    ['{', 'INVALID_JSON'],
    ['[]', 'INVALID_MESSAGE'],
    ['null', 'INVALID_MESSAGE'],
    [{}, 'UNKNOWN_TYPE'],
    [{ type: 'shout' }, 'UNKNOWN_TYPE'],
    [{ type: 'subscribe' }, 'INVALID_MESSAGE'],
    [{ type: 'subscribe', jobId: 7 }, 'INVALID_MESSAGE'],
    [{ type: 'subscribe', jobId: randomUUID(), sinceRevision: 1.5 }, 'INVALID_MESSAGE'],
    [{ type: 'subscribe', scope: 'some' }, 'INVALID_MESSAGE'],
    [{ type: 'subscribe', scope: 'all', sinceCursor: 'nonsense' }, 'INVALID_CURSOR'],
    [
      {
        type: 'subscribe',
        scope: 'all',
        sinceCursor: Buffer.from('1.9223372036854775808').toString('base64url'),
      },
      'INVALID_CURSOR',
    ],
    [
      {
        type: 'subscribe',
        scope: 'all',
        sinceCursor: Buffer.from('1.4611686018427387904').toString('base64url'),
      },
      'CURSOR_AHEAD',
    ],
  ];
  for (const [message, code] of wrong) {
    const before = client.messages.length;
    client.send(message);
    const answer = await eventually(() => client.messages[before]);
    expect(answer).toMatchObject({ type: 'error', code, message: expect.any(String) as string });
  }
  client.send({ type: 'ping', and: 'more' });
  await client.message('pong');
});

test('a revision ahead of the job is refused', async () => {
  const live = await startLive();
  const user = await live.newUser();
  const job = await live.newJob(user.id);
  const client = await live.connect(user.token);
  client.send({ type: 'subscribe', jobId: job.id, sinceRevision: 1 });
  expect(await client.message('error', job.id)).toMatchObject({ code: 'REVISION_AHEAD', revision: 0 });
});

test('sinceRevision sends what was missed, then goes on', async () => {
  const live = await startLive();
  const user = await live.newUser();
  const job = await live.newJob(user.id);
  await job.append(events.started(1), events.attemptFailed(1));
  const client = await live.connect(user.token);
  client.send({ type: 'subscribe', jobId: job.id, sinceRevision: -1 });
  await client.message('job:retrying', job.id);
  await job.append(events.started(2, { attempt: 2 }), events.completed(2, { attempt: 2 }));
  await client.message('job:done', job.id);
  expect(client.messages.slice(2).map(({ revision }) => revision)).toEqual([0, 1, 2, 3, 4]);
});

test('a job followed by id and by scope is told of once', async () => {
  const live = await startLive();
  const user = await live.newUser();
  const client = await live.connect(user.token);
  const { cursor } = await client.message('connected');
  const [job, other] = [await live.newJob(user.id), await live.newJob(user.id)];
  await job.append(events.started(1));
  await job.log('first');
  await client.subscribe(job.id);
  await job.log('second');
  await eventually(() => client.messages.filter(({ type }) => type === 'job:log').length > 0);
  client.send({ type: 'subscribe', scope: 'all', sinceCursor: cursor });
  client.send({ type: 'subscribe', jobId: job.id, sinceRevision: -1 });
  client.send({ type: 'subscribe', jobId: other.id, sinceRevision: -1 });
  await job.log('third');
  await job.append(events.completed(1));
  await live.run(other);
  await client.message('job:done', job.id);
  await client.message('job:done', other.id);
  const told = (id: string, field: string) =>
    client.messages
      .filter((message) => message.type.startsWith('job:') && message.jobId === id && field in message)
      .map((message) => message[field] as number)
      .sort((a, b) => a - b);
  expect(told(job.id, 'revision')).toEqual([0, 1, 2]);
  expect(told(other.id, 'revision')).toEqual([0, 1, 2, 3, 4]);
  expect(told(job.id, 'logRevision')).toEqual([...new Set(told(job.id, 'logRevision'))]);
  expect(told(job.id, 'logRevision')).toContain(2);
});
