import { randomUUID } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Redis } from 'ioredis';
import pg from 'pg';
import { freePort } from '../src/infrastructure/embedded/ports.ts';
import { RECONCILER_INTERVAL_MS } from '../src/workers/reconciler.ts';
import { httpClient, registerUser } from '../test/support/http-client.ts';
import { eventually } from '../test/support/waiting.ts';
import { startEnvironment } from './lib/environment.ts';
import { answers, startProcess } from './lib/processes.ts';
import { describeRun } from './lib/report.ts';
import { writeResults } from './lib/results.ts';

// `npm run bench:reconciler`: README.md beside this says what it does and prints.

const HANDLERS = path.resolve('test/fixtures/handlers');
/** Milliseconds: of each step, so that a service that has lost something ends the run. */
const PATIENCE = 300_000;
/**
 * Seconds after its due time at which a delayed job starts at the latest. Put back with its time it starts at once; later than one interval of the
 * reconciler, it was put back without, or one pass has missed it.
 */
const LATEST_START = RECONCILER_INTERVAL_MS / 1_000;
const CONCURRENCY = 20;
const CLIENTS = 50;

const { values: options } = parseArgs({
  options: {
    pending: { type: 'string', default: '5000' },
    delayed: { type: 'string', default: '500' },
    'due-after': { type: 'string', default: '60' },
    quick: { type: 'boolean', default: false },
  },
});
const pending = options.quick ? 200 : Number(options.pending);
const delayed = options.quick ? 20 : Number(options.delayed);
/** Seconds from submission until the first delayed job is due; the last one is due as many seconds later again. */
const dueAfter = options.quick ? 20 : Number(options['due-after']);

/** What the event store says of the jobs. */
interface Verdict {
  readonly jobs: number;
  /** Of these, by type: each is in the state that its type should end in. */
  readonly done: number;
  /** Without an end. */
  readonly lost: number;
  readonly endedTwice: number;
  /** Starts before the job's due time. */
  readonly early: number;
  readonly startedTwice: number;
  /** Seconds between a delayed job's due time and its start. */
  readonly latestStart: number;
}

const releases: (() => Promise<unknown>)[] = [];
try {
  const report = await measure();
  await writeResults('reconciler', report);
} finally {
  for (const release of releases.reverse()) await release();
}

async function measure(): Promise<object> {
  const environment = await startEnvironment();
  releases.push(() => environment.stop());
  const run = await describeRun(environment);
  const { url } = await environment.createDatabase();
  const redisUrl = await environment.freshRedis();
  const database = new pg.Pool({ connectionString: url, max: 2 });
  const redis = new Redis(redisUrl);
  releases.push(async () => {
    redis.disconnect();
    await database.end();
  });

  const directory = await environment.createDirectory();
  const port = String(await freePort());
  const base = `http://127.0.0.1:${port}`;
  const start = async (name: string, isUp?: () => Promise<boolean>): Promise<void> => {
    const started = await startProcess({
      name,
      file: 'src/main.js',
      environment: {
        NODE_ENV: 'test',
        ROLES: name,
        DATABASE_URL: url,
        REDIS_URL: redisUrl,
        DATA_DIR: path.join(directory, 'data'),
        HOST: '127.0.0.1',
        PORT: port,
        HANDLERS_DIR: HANDLERS,
        HANDLER_TIME_SCALE: '0',
        WORKER_CONCURRENCY: String(CONCURRENCY),
        RATE_LIMIT_JOBS_PER_MINUTE: '1000000',
        LOG_LEVEL: 'warn',
      },
      ...(isUp && { isUp }),
    });
    releases.push(() => started.stop());
  };
  await start('api,projector,dispatcher', answers(`${base}/readyz`));
  await start('worker');
  const { token } = await registerUser(base);
  const call = httpClient(base);
  const submit = async (count: number, bodyOf: (n: number) => object): Promise<void> => {
    let next = 0;
    const client = async (): Promise<void> => {
      while (next < count) {
        const body = bodyOf(next++);
        // A service that is busy asks to come again, which the key makes safe.
        const headers = { 'idempotency-key': randomUUID() };
        await until(async () => (await call('POST', '/api/jobs', { token, body, headers })).status === 201);
      }
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
  };
  const count = async (sql: string): Promise<number> => {
    const { rows } = await database.query<{ n: number }>(`SELECT count(*)::int AS n FROM ${sql}`);
    return rows[0]!.n;
  };

  // As many jobs as the worker takes at a time keep it busy, over the loss as well, so that all the others wait.
  const held = path.join(directory, 'held');
  await writeFile(held, '');
  await submit(CONCURRENCY, () => ({ type: 'hold', payload: { file: held } }));
  await until(async () => (await count(`jobs WHERE status = 'PROCESSING'`)) === CONCURRENCY);
  await submit(pending, (n) => ({ type: 'send-email', payload: { n } }));
  const firstDue = Date.now() + dueAfter * 1_000;
  await submit(delayed, (n) => ({
    type: 'send-email',
    payload: { n },
    runAt: new Date(firstDue + Math.round((n / delayed) * dueAfter * 1_000)).toISOString(),
  }));
  const all = CONCURRENCY + pending + delayed;
  const queued = await until(async () => {
    const found = await entriesOf(redis);
    return found.waiting === pending && found.delayed === delayed && found;
  });
  say(`In the queue: ${queued.waiting} pending and ${queued.delayed} delayed jobs; ${CONCURRENCY} run`);

  const flushedAt = performance.now();
  await redis.flushall();
  say(`FLUSHALL, ${Math.round((firstDue - Date.now()) / 1_000)} s before the first delayed job is due`);
  await until(async () => (await entriesOf(redis)).waiting > 0);
  const noticed = since(flushedAt);
  await until(async () => {
    const found = await entriesOf(redis);
    return found.waiting >= pending && found.delayed === delayed;
  });
  const back = since(flushedAt);
  const inTime = Date.now() < firstDue;
  say(`Noticed after ${noticed} s, all back in the queue after ${back} s`);
  await rm(held);
  await until(async () => (await count(`jobs WHERE status = 'DONE'`)) >= all - delayed);
  const pendingEnded = since(flushedAt);
  say(`All that was pending or ran has ended after ${pendingEnded} s`);
  await until(async () => (await count('open_work')) === 0);
  const ended = since(flushedAt);

  const verdict = await judge(database);
  say(`All have ended after ${ended} s, the last of them due at ${Math.round(dueAfter * 2)} s`);
  say(
    `Jobs: ${verdict.jobs} accepted, ${verdict.done} done, ${verdict.lost} lost, ${verdict.endedTwice} ended twice, ${verdict.startedTwice} started again`,
  );
  say(`Delayed: ${verdict.early} started before they were due, the latest ${verdict.latestStart} s after`);
  const sound =
    verdict.jobs === all &&
    verdict.done === all &&
    verdict.lost + verdict.endedTwice + verdict.early === 0 &&
    verdict.latestStart <= LATEST_START &&
    inTime;
  if (verdict.latestStart > LATEST_START) say(`That is later than ${LATEST_START} s: not each at its time`);
  if (!inTime) say('The delayed jobs were due before the queue was restored: nothing is shown of them');
  if (!sound) process.exitCode = 1;
  return { ...run, pending, delayed, running: CONCURRENCY, noticed, back, pendingEnded, ended, ...verdict };
}

/** What BullMQ holds. */
async function entriesOf(redis: Redis): Promise<{ waiting: number; delayed: number }> {
  const [waiting, later] = await Promise.all([
    redis.llen('asyncly:work:wait'),
    redis.zcard('asyncly:work:delayed'),
  ]);
  return { waiting, delayed: later };
}

/** From the events alone: read models and queue are what is being tested. */
async function judge(database: pg.Pool): Promise<Verdict> {
  const { rows } = await database.query<Record<keyof Verdict, string>>(
    `WITH job AS (
       SELECT stream,
         max(data->>'runAt')::timestamptz AS due,
         min((metadata->>'occurredAt')::timestamptz) FILTER (WHERE type = 'JobStarted') AS started,
         count(*) FILTER (WHERE type = 'JobStarted') AS starts,
         count(*) FILTER (WHERE type = 'JobCompleted') AS completions,
         count(*) FILTER (WHERE type IN ('JobCompleted', 'JobFailed', 'JobCancelled')) AS ends
       FROM eventstore.events WHERE stream LIKE 'job-%' GROUP BY stream
     )
     SELECT count(*) AS jobs,
       count(*) FILTER (WHERE completions = 1 AND ends = 1) AS done,
       count(*) FILTER (WHERE ends = 0) AS lost,
       count(*) FILTER (WHERE ends > 1) AS "endedTwice",
       count(*) FILTER (WHERE starts > 1) AS "startedTwice",
       count(*) FILTER (WHERE started < due) AS early,
       coalesce(round(max(extract(epoch FROM started - due)), 1), 0) AS "latestStart"
     FROM job`,
  );
  return Object.fromEntries(
    Object.entries(rows[0]!).map(([name, value]) => [name, Number(value)]),
  ) as unknown as Verdict;
}

function until<T>(check: () => Promise<T>): Promise<Exclude<NonNullable<T>, false>> {
  return eventually(check, PATIENCE);
}

function since(began: number): number {
  return Math.round((performance.now() - began) / 100) / 10;
}

function say(text: string): void {
  console.log(text);
}
