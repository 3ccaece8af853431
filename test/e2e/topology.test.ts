import { Queue } from 'bullmq';
import { expect, it, onTestFinished } from 'vitest';
import { decodeEvent } from '../../src/events/codec.ts';
import type { DomainEvent } from '../../src/events/codec.ts';
import type { PositionedEvent } from '../../src/events/event-store.ts';
import { JOB_LOG_PREFIX, JOB_PREFIX, JOB_STATUSES, jobLogStream, jobStream } from '../../src/events/job.ts';
import { holdable } from '../support/hold.ts';
import { httpClient, registerUser } from '../support/http-client.ts';
import type { LiveMessage } from '../support/live-client.ts';
import { describeWithRedis } from '../support/redis-server.ts';
import { everything } from '../support/store.ts';
import { Topology } from '../support/topology.ts';
import type { Member } from '../support/topology.ts';
import { eventually } from '../support/waiting.ts';
import { Watcher } from '../support/watcher.ts';

const JOBS = 1_000;
const USERS = 4;
/** Jobs under way at a time: enough that something is lost with every process that is killed. */
const WINDOW = 100;
const SUBMITTERS = 16;
/** Jobs that run until the test lets them end, so that the worker to be killed has some. */
const HELD = 6;
/** Longer than any recovery takes on a busy machine: what is asserted is that it comes. */
const DEADLINE_MS = 120_000;
const TEST_TIMEOUT_MS = 600_000;

interface User {
  readonly id: string;
  readonly token: string;
  /** One that begins at each api. */
  readonly watchers: readonly Watcher[];
}

async function register(apis: readonly Member[]): Promise<User> {
  const { id, token } = await registerUser(apis[0]!.base);
  const addresses = apis.map(({ wsBase }) => wsBase);
  const watchers = addresses.map((_, first) => new Watcher(token, addresses, first));
  onTestFinished(async () => {
    await Promise.all(watchers.map((watcher) => watcher.leave()));
  });
  return { id, token, watchers };
}

/** Jobs submitted over all apis that live, by all users in turn. */
class Submissions {
  /** Ids of the jobs that were answered 201, by the number in their payload. */
  readonly acknowledged = new Map<number, string>();
  /** Numbers of those whose api died before it had answered. */
  readonly unknown = new Set<number>();
  readonly #apis: readonly Member[];
  readonly #users: readonly User[];
  #next = 0;

  constructor(apis: readonly Member[], users: readonly User[]) {
    this.#apis = apis;
    this.#users = users;
  }

  /** Jobs whose end a watcher was told of. */
  get ended(): number {
    const ended = this.#users.map(({ watchers }) => Math.max(...watchers.map((one) => one.ended.size)));
    return ended.reduce((sum, count) => sum + count, 0);
  }

  /** @returns whether it was answered */
  async submit({ type, payload = {} }: { type: string; payload?: object }): Promise<boolean> {
    const n = this.#next++;
    const apis = this.#apis.filter(({ hasEnded }) => !hasEnded);
    const { base } = apis[n % apis.length]!;
    const { token } = this.#users[n % this.#users.length]!;
    const body = { type, payload: { ...payload, n } };
    const answer = await httpClient(base)('POST', '/api/jobs', { token, body }).catch(() => null);
    if (answer === null) {
      this.unknown.add(n);
      return false;
    }
    expect(answer).toMatchObject({ status: 201, body: { data: { status: 'PENDING' } } });
    this.acknowledged.set(n, (answer.body.data as { id: string }).id);
    return true;
  }

  /** Until so many are acknowledged, as fast as they end. */
  async run(count: number): Promise<void> {
    let left = count - this.acknowledged.size;
    const submitter = async (): Promise<void> => {
      while (left > 0) {
        left--;
        await eventually(() => this.acknowledged.size - this.ended < WINDOW, DEADLINE_MS);
        if (!(await this.submit({ type: 'any' }))) left++;
      }
    };
    await Promise.all(Array.from({ length: SUBMITTERS }, submitter));
  }
}

/**
 * Kills whoever leads and waits until the other process has the lease and has moved the checkpoint on.
 * @returns seconds after the kill
 */
async function failOver(topology: Topology, role: 'projector' | 'dispatcher', checkpoint: string) {
  const position = async (): Promise<bigint> => {
    const { rows } = await topology.database.query<{ position: bigint }>(
      'SELECT position FROM checkpoints WHERE name = $1',
      [checkpoint],
    );
    return rows[0]!.position;
  };
  const active = await topology.holder(role);
  const elapsed = stopwatch();
  await active.end('SIGKILL');
  const standby = topology.running(role)[0];
  await eventually(async () => (await topology.holder(role)) === standby, DEADLINE_MS);
  const leads = elapsed();
  const taken = await position();
  await eventually(async () => (await position()) > taken, DEADLINE_MS);
  return { leads, works: elapsed() };
}

/** Seconds since the call. */
function stopwatch(): () => number {
  const begun = performance.now();
  return () => Math.round((performance.now() - begun) / 100) / 10;
}

interface StoredJob {
  readonly id: string;
  readonly userId: string;
  /** What its payload says. */
  readonly n: unknown;
  /** Of its own stream. */
  readonly events: readonly DomainEvent[];
}

function jobsIn(recorded: readonly PositionedEvent[]): StoredJob[] {
  const streams = new Map<string, DomainEvent[]>();
  for (const one of recorded) streams.set(one.stream, [...(streams.get(one.stream) ?? []), decodeEvent(one)]);
  return [...streams.values()].flatMap((events) => {
    const [created] = events;
    if (created?.type !== 'JobCreated') return [];
    const { jobId: id, userId, payload } = created.data;
    return [{ id, userId, n: payload['n'], events }];
  });
}

const startsOf = ({ events }: Pick<StoredJob, 'events'>) =>
  events.flatMap((event) => (event.type === 'JobStarted' ? [event.data] : []));

/** One end, the good one, and no start but the first that was not needed: no attempt was counted for a process that died. */
function expectToHaveEndedOnce(jobs: readonly StoredJob[]): void {
  const wrong = jobs.filter((job) => {
    const types = job.events.map(({ type }) => type);
    const restarted = startsOf(job).filter(({ supersedes }) => supersedes !== null).length;
    const released = types.filter((type) => type === 'JobReleased').length;
    const expected = [
      'JobCreated',
      ...Array<string>(1 + restarted + released).fill('JobStarted'),
      ...Array<string>(released).fill('JobReleased'),
      'JobCompleted',
    ];
    return types.at(-1) !== 'JobCompleted' || types.toSorted().join() !== expected.toSorted().join();
  });
  expect(wrong).toEqual([]);
}

/** Everything of the user's jobs, in the store's order, each event once. */
function expectToHaveBeenTold(
  user: User,
  jobs: readonly StoredJob[],
  recorded: readonly PositionedEvent[],
): void {
  const own = jobs.filter(({ userId }) => userId === user.id);
  const streams = new Set(own.flatMap(({ id }) => [jobStream(id), jobLogStream(id)]));
  const stored = recorded
    .filter(({ stream }) => streams.has(stream))
    .map(({ stream, revision }) => `${stream}@${revision}`);
  for (const watcher of user.watchers) {
    expect(watcher.errors).toEqual([]);
    expect(watcher.told.map(nameOf)).toEqual(stored);
  }
}

function nameOf({ jobId, revision, logRevision }: LiveMessage): string {
  const [stream, at] =
    logRevision === undefined ? [jobStream(jobId!), revision] : [jobLogStream(jobId!), logRevision];
  return `${stream}@${String(at)}`;
}

/** The lists of the user's jobs by status have all of them as DONE, and the logs of each say once that it completed. */
async function expectReadModels(
  { database }: Topology,
  { base }: Member,
  user: User,
  jobs: readonly StoredJob[],
): Promise<void> {
  const own = jobs.filter(({ userId }) => userId === user.id);
  for (const status of JOB_STATUSES) {
    const { body } = await httpClient(base)('GET', `/api/jobs?limit=1&status=${status}`, user);
    expect([status, body.meta]).toMatchObject([status, { total: status === 'DONE' ? own.length : 0 }]);
  }
  const { rows } = await database.query(
    `SELECT job_id FROM job_logs WHERE message = 'Job completed successfully' AND job_id = ANY($1::uuid[])`,
    [own.map(({ id }) => id)],
  );
  expect(rows.map(({ job_id }) => job_id).toSorted()).toEqual(own.map(({ id }) => id).toSorted());
}

async function expectNoWorkLeft({ database, redisUrl }: Topology): Promise<void> {
  const queue = new Queue('work', { connection: { url: redisUrl }, prefix: 'asyncly' });
  try {
    await eventually(async () => {
      expect((await database.query('SELECT * FROM open_work')).rows).toEqual([]);
      const counts = Object.entries(await queue.getJobCounts());
      expect(counts.filter(([, count]) => count !== 0)).toEqual([]);
      return true;
    }, DEADLINE_MS);
  } finally {
    await queue.close();
  }
}

describeWithRedis('eight processes', () => {
  it(
    'end each of 1,000 jobs once and tell every watcher of it once, while one of each role is killed',
    async () => {
      const topology = new Topology({ RATE_LIMIT_JOBS_PER_MINUTE: '1000000' });
      onTestFinished(() => topology.stop());
      const starting = stopwatch();
      await topology.start({ api: 2, worker: 2, projector: 2, dispatcher: 2 });
      const started = starting();
      const [apis, workers] = [topology.running('api'), topology.running('worker')];
      const users = await Promise.all(Array.from({ length: USERS }, () => register(apis)));
      const watchers = users.flatMap((user) => user.watchers);
      await eventually(() => watchers.every(({ subscriptions }) => subscriptions > 0));

      const working = stopwatch();
      const submissions = new Submissions(apis, users);
      const { body, release } = await holdable();
      for (let n = 0; n < HELD; n++) await submissions.submit(body);
      const held = await eventually(async () => {
        const jobs = jobsIn(await everything(topology.store, [JOB_PREFIX]));
        return jobs.every((job) => startsOf(job).length > 0) && jobs;
      }, DEADLINE_MS);
      const heldBy = ({ pid }: Member) =>
        held.filter((job) => startsOf(job).at(-1)!.workerId.includes(`-${pid}-`));
      const submitting = submissions.run(JOBS);
      submitting.catch(() => undefined);
      const haveEnded = (count: number) => eventually(() => submissions.ended >= count, DEADLINE_MS);

      await haveEnded(150);
      const projector = await failOver(topology, 'projector', 'jobs');
      await haveEnded(300);
      const dispatcher = await failOver(topology, 'dispatcher', 'dispatcher');
      await haveEnded(450);
      const worker = workers.find((one) => heldBy(one).length > 0)!;
      await worker.end('SIGKILL');
      await release();
      await haveEnded(600);
      const [killed, api] = [apis[0]!, apis[1]!];
      await killed.end('SIGKILL');
      await submitting;

      const jobs = await eventually(async () => {
        const found = jobsIn(await everything(topology.store, [JOB_PREFIX]));
        expectToHaveEndedOnce(found);
        return found;
      }, DEADLINE_MS);
      const ended = working();
      expect(submissions.acknowledged.size).toBe(JOBS);
      const numbers = new Map(jobs.map(({ n, id }) => [n, id]));
      expect(numbers.size).toBe(jobs.length);
      for (const [n, id] of submissions.acknowledged) expect(numbers.get(n)).toBe(id);
      for (const n of submissions.acknowledged.keys()) numbers.delete(n);
      expect([...numbers.keys()].filter((n) => !submissions.unknown.has(n as number))).toEqual([]);
      // The dead worker's jobs were not merely finished: someone saw that it was dead.
      for (const { id } of heldBy(worker))
        expect(startsOf(jobs.find((job) => job.id === id)!).length).toBeGreaterThan(1);

      await eventually(
        () =>
          users.every(({ id, watchers }) =>
            watchers.every((one) => one.ended.size === jobs.filter(({ userId }) => userId === id).length),
          ),
        DEADLINE_MS,
      );
      const recorded = await everything(topology.store, [JOB_PREFIX, JOB_LOG_PREFIX]);
      for (const user of users) {
        expectToHaveBeenTold(user, jobs, recorded);
        // At once: nobody is told of what the read models do not have.
        await expectReadModels(topology, api, user, jobs);
      }
      for (const { watchers } of users) expect(watchers[0]!.subscriptions).toBeGreaterThan(1);
      await expectNoWorkLeft(topology);
      expect((await fetch(`${api.base}/readyz`)).status).toBe(200);
      console.log({ started, ended, projector, dispatcher, unknown: submissions.unknown.size });
    },
    TEST_TIMEOUT_MS,
  );
});
