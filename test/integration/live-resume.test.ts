import { expect, test } from 'vitest';
import type { PositionedEvent } from '../../src/events/event-store.ts';
import { LiveClient } from '../support/live-client.ts';
import type { LiveMessage } from '../support/live-client.ts';
import { startLive } from '../support/live.ts';
import type { TestJob } from '../support/live.ts';
import { everything } from '../support/store.ts';
import { createGate, eventually } from '../support/waiting.ts';

type Live = Awaited<ReturnType<typeof startLive>>;

const JOBS = 200;
const CUTS = 20;
/** Revisions of a job after `run` with two attempts. */
const REVISIONS = [0, 1, 2, 3, 4];

/** Submits jobs and takes them to their ends, several at a time. */
async function work(live: Live, userId: string, submitted: (job: TestJob) => void): Promise<void> {
  const strangers = live.newUser();
  let left = JOBS;
  const lane = async (): Promise<void> => {
    while (left-- > 0) {
      const job = await live.newJob(userId);
      submitted(job);
      const foreign = await live.newJob((await strangers).id);
      await Promise.all([live.run(job, 2), live.run(foreign, 1)]);
    }
  };
  await Promise.all(Array.from({ length: 8 }, lane));
}

/** Cuts the connection in the middle of things, without a goodbye; whatever had come is kept. */
async function cut(client: LiveClient): Promise<LiveMessage[]> {
  await client.cut();
  return [...client.messages];
}

test('a client that is cut 20 times resumes each job by its revision: every event exactly once', async () => {
  const live = await startLive();
  const user = await live.newUser();
  const jobs: TestJob[] = [];
  const got = new Map<string, number[]>();
  const keep = (messages: readonly LiveMessage[]): void => {
    for (const { jobId, revision, type } of messages) {
      if (!type.startsWith('job:') || typeof revision !== 'number') continue;
      const revisions = got.get(jobId!) ?? [];
      revisions.push(revision);
      got.set(jobId!, revisions);
    }
  };
  const isDone = (): boolean => jobs.length === JOBS && jobs.every(({ id }) => got.get(id)?.includes(4));
  const working = work(live, user.id, (job) => jobs.push(job));

  let cuts = 0;
  for (; cuts < CUTS || !isDone(); cuts++) {
    const client = new LiveClient(`${live.base}?token=${user.token}`);
    await client.message('connected');
    const known = [...jobs];
    for (const { id } of known) {
      const last = got.get(id)?.at(-1) ?? -1;
      if (last < 4) client.send({ type: 'subscribe', jobId: id, sinceRevision: last });
    }
    const ends = performance.now() + (cuts < CUTS ? 50 + Math.random() * 150 : 500);
    await eventually(() => performance.now() > ends);
    keep(await cut(client));
    expect(client.messages.filter(({ type }) => type === 'error')).toEqual([]);
  }
  await working;
  expect(cuts).toBeGreaterThanOrEqual(CUTS);
  expect(got.size).toBe(JOBS);
  for (const revisions of got.values()) expect(revisions).toEqual(REVISIONS);
}, 120_000);

test('a client that is cut 20 times resumes all its jobs by cursor: every event exactly once', async () => {
  const live = await startLive();
  const user = await live.newUser();
  const told: LiveMessage[] = [];
  const mine: string[] = [];
  const working = work(live, user.id, ({ id }) => mine.push(id));
  const wanted = JOBS * (REVISIONS.length + 2);

  let cursor: unknown = Buffer.from('1.-1').toString('base64url');
  let cuts = 0;
  for (; cuts < CUTS || told.length < wanted; cuts++) {
    const client = new LiveClient(`${live.base}/ws?token=${user.token}`);
    await client.message('connected');
    client.send({ type: 'subscribe', scope: 'all', sinceCursor: cursor });
    const ends = performance.now() + (cuts < CUTS ? 50 + Math.random() * 150 : 500);
    await eventually(() => performance.now() > ends || told.length + client.messages.length - 2 >= wanted);
    const messages = await cut(client);
    expect(messages.filter(({ type }) => type === 'error')).toEqual([]);
    told.push(...messages.filter(({ type }) => type.startsWith('job:')));
    cursor = messages.filter(({ type }) => type !== 'connected').at(-1)?.['cursor'] ?? cursor;
    expect(cuts).toBeLessThan(500);
  }
  await working;
  const stored = (await everything(live.store)).filter(({ stream }) =>
    mine.some((id) => stream.endsWith(id)),
  );
  const name = (jobId: string, revision: unknown, log: boolean) =>
    `${log ? 'jobLog' : 'job'}-${jobId}@${String(revision)}`;
  expect(
    told.map((message) =>
      'logRevision' in message
        ? name(message.jobId!, message['logRevision'], true)
        : name(message.jobId!, message['revision'], false),
    ),
  ).toEqual(stored.map(({ stream, revision }: PositionedEvent) => `${stream}@${revision}`));
}, 120_000);

test('what happens while a subscription is set up comes neither twice nor never', async () => {
  const live = await startLive({ limits: { socketsPerUser: 100 } });
  const user = await live.newUser();
  await Promise.all(
    Array.from({ length: 40 }, async (_, n) => {
      const job = await live.newJob(user.id);
      const running = live.run(job, 3);
      // Anywhere in the middle.
      await eventually(() => job.revision >= n % 6);
      const client = await live.connect(user.token);
      client.send({ type: 'subscribe', jobId: job.id, sinceRevision: n % 3 === 0 ? 0 : -1 });
      await running;
      await client.message('job:done', job.id);
      await client.close();
      const revisions = client.messages
        .filter(({ type, revision }) => type.startsWith('job:') && revision !== undefined)
        .map(({ revision }) => revision);
      expect(revisions).toEqual(n % 3 === 0 ? [1, 2, 3, 4, 5, 6] : [0, 1, 2, 3, 4, 5, 6]);
    }),
  );
}, 60_000);

test('a cursor with too much behind it is refused with the place to go on from', async () => {
  const live = await startLive({ limits: { scannedEvents: 10 } });
  const user = await live.newUser();
  await Promise.all(Array.from({ length: 12 }, () => live.newJob(user.id)));
  const client = await live.connect(user.token);
  // Only what the read model has is behind a client.
  const head = Buffer.from(`1.${(await live.store.head()).toString()}`).toString('base64url');
  await eventually(() => {
    client.send({ type: 'ping' });
    return client.messages.some(({ cursor }) => cursor === head);
  });
  client.send({ type: 'subscribe', scope: 'all', sinceCursor: Buffer.from('1.-1').toString('base64url') });
  const { cursor, code } = await client.message('error');
  expect(code).toBe('CURSOR_TOO_OLD');
  const before = client.messages.filter(({ type }) => type === 'job:created').length;
  expect(before).toBe(10);
  client.send({ type: 'subscribe', scope: 'all', sinceCursor: cursor });
  await eventually(() => client.messages.filter(({ type }) => type === 'job:created').length === 12);
  expect(
    new Set(client.messages.filter(({ type }) => type === 'job:created').map(({ jobId }) => jobId)).size,
  ).toBe(12);
});

test('who resumes on many sockets at once does not hold up the others', async () => {
  const gate = createGate();
  let held = 0;
  const beginning = Buffer.from('1.-1').toString('base64url');
  const live = await startLive({
    limits: { scans: 2 },
    wrapStore: (store) => ({
      ...store,
      subscribe: (options) =>
        (async function* () {
          // A scan of everything, which takes its time.
          if (options.after === -1n) {
            held++;
            await gate.opened;
          }
          yield* store.subscribe(options);
        })(),
    }),
  });
  const [greedy, other] = [await live.newUser(), await live.newUser()];
  const job = await live.newJob(other.id);
  // Clients begin behind it, and so does the feed.
  await eventually(async () => {
    const { rows } = await live.database.query('SELECT FROM checkpoints WHERE position > 0');
    return rows.length >= 2;
  });
  const many = await Promise.all(Array.from({ length: 6 }, () => live.connect(greedy.token)));
  for (const client of many) client.send({ type: 'subscribe', scope: 'all', sinceCursor: beginning });
  await Promise.all(many.map((client) => client.message('subscribed')));
  await eventually(() => held > 0);

  const client = await live.connect(other.token);
  const sinceCursor = Buffer.from('1.0').toString('base64url');
  client.send({ type: 'subscribe', scope: 'all', sinceCursor });
  await client.message('job:created', job.id);
  expect(held).toBe(1);
  gate.open();
  await eventually(() => held === many.length);
});
