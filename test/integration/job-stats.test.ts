import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Queryable } from '../../src/database.ts';
import type { PositionedEvent } from '../../src/events/event-store.ts';
import { JOB_PREFIX, jobLogStream, jobStream } from '../../src/events/job.ts';
import type { JobEvent } from '../../src/events/job.ts';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import { createPostgresEventStore } from '../../src/infrastructure/postgres/event-store.ts';
import { jobStatsProjection } from '../../src/projections/job-stats.ts';
import { createJobStatsQueries } from '../../src/queries/job-stats.ts';
import { silentLogger } from '../support/database.ts';
import { foldJobs, historyInBatches, uuid } from '../support/histories.ts';
import { events, USER } from '../support/job-spec.ts';
import { expectStats, statsByHand } from '../support/stats-oracle.ts';
import { createTestStore, everything, stored } from '../support/store.ts';
import { applyTo } from '../support/read-models.ts';

const EVERYTHING = { from: '1970-01-01', to: '9999-12-31', type: null };

async function setup() {
  const test = await createTestStore();
  onTestFinished(() => test.drop());
  const { database, store } = test;
  const clear = (): Promise<unknown> => database.query(`TRUNCATE ${jobStatsProjection.tables.join(', ')}`);

  async function project(batches: readonly (readonly PositionedEvent[])[]): Promise<void> {
    for (const batch of batches) {
      const wanted = batch.filter(({ stream }) => stream.startsWith(JOB_PREFIX));
      if (wanted.length > 0) await applyTo(database, jobStatsProjection, wanted);
    }
  }
  return { database, store, clear, project, stats: createJobStatsQueries({ database, store }) };
}

/** Every row of every table of the projection, as text. */
async function allRows(database: Queryable): Promise<unknown> {
  const tables: Record<string, unknown> = {};
  for (const table of jobStatsProjection.tables)
    tables[table] = (await database.query(`SELECT t::text FROM ${table} AS t ORDER BY 1`)).rows;
  return tables;
}

const WEEKS = 6_000;

/** A history as if it had taken weeks, with the jobs of two users. */
function stretched(history: readonly PositionedEvent[]): PositionedEvent[] {
  const began = Date.parse(history[0]?.metadata.occurredAt ?? '');
  const stretch = (time: string): string =>
    new Date(began + (Date.parse(time) - began) * WEEKS).toISOString();
  return history.map((event) => {
    const { occurredAt } = event.metadata;
    const data = { ...event.data };
    for (const key of ['runAt', 'retryAt']) if (typeof data[key] === 'string') data[key] = stretch(data[key]);
    if ('userId' in data) data['userId'] = event.stream.endsWith('2') ? 'user-2' : USER;
    return { ...event, data, metadata: { ...event.metadata, occurredAt: stretch(occurredAt) } };
  });
}

describe('the statistics of jobs', () => {
  it('are what the events say, and the same rows whatever the batches', async () => {
    const { database, clear, project, stats } = await setup();
    const answer = async (userId: string, filter: Parameters<typeof stats.get>[1]) => {
      const found = await stats.get(userId, filter, 1_000);
      if (found === null) throw new Error('Too many');
      return found;
    };
    await fc.assert(
      fc.asyncProperty(historyInBatches, fc.boolean(), async (given, weeks) => {
        const batches = weeks ? inBatchesLike(given, stretched(given.flat())) : given;
        const all = batches.flat();
        await clear();
        await project(batches);
        const rows = await allRows(database);
        for (const userId of [USER, 'user-2', 'nobody']) {
          const whole = await answer(userId, EVERYTHING);
          expectStats(whole, statsByHand(all, { userId, ...EVERYTHING }));
          const [first, last] = [whole.days[0]?.day, whole.days.at(-1)?.day];
          if (first === undefined || last === undefined) continue;
          for (const part of [
            { from: first, to: first, type: null },
            { from: first, to: last, type: 'other' },
            { from: last, to: last, type: 'send-email' },
          ])
            expectStats(await answer(userId, part), statsByHand(all, { userId, ...part }));
        }
        // A replay in one batch, and one in batches of a single event.
        for (const others of [[all], all.map((event) => [event])]) {
          await clear();
          await project(others);
          expect(await allRows(database)).toEqual(rows);
        }
      }),
      { numRuns: 30 },
    );
  }, 60_000);

  it('keep a row for jobs that something may still happen to, and none for those that are DONE', async () => {
    const { database, clear, project } = await setup();
    await fc.assert(
      fc.asyncProperty(historyInBatches, async (batches) => {
        await clear();
        await project(batches);
        const { rows } = await database.query<{ id: string; due: boolean; started: boolean }>(
          'SELECT id, due_at IS NOT NULL AS due, started_at IS NOT NULL AS started FROM job_stats_jobs ORDER BY id',
        );
        const left = [...foldJobs(batches.flat()).values()].filter(({ status }) => status !== 'DONE');
        expect(rows).toEqual(
          left
            .map(({ id, status }) => ({
              id,
              due: status === 'PENDING',
              started: status === 'PROCESSING',
            }))
            .sort((a, b) => (a.id < b.id ? -1 : 1)),
        );
      }),
      { numRuns: 25 },
    );
  });

  it('count each event on its own day of UTC, to the millisecond', async () => {
    const { project, stats } = await setup();
    await project([
      storyOf(1, [
        ['2026-03-28T23:59:59.999Z', events.created({ jobId: uuid(1, 1) })],
        ['2026-03-29T00:00:00.000Z', events.started(1)],
        ['2026-03-29T23:59:59.999Z', events.attemptFailed(1, { retryAt: '2026-03-30T00:00:00.000Z' })],
        ['2026-03-30T00:00:00.000Z', events.started(2, { attempt: 2 })],
        ['2026-03-31T00:00:00.000Z', events.completed(2, { attempt: 2 })],
      ]),
    ]);
    const found = await stats.get(USER, EVERYTHING, 10);
    const none = { count: 0, meanMs: null, p95Ms: null };
    const nothing = { created: 0, done: 0, failed: 0, cancelled: 0, retried: 0, wait: none, run: none };
    const exactly = (ms: number, p95Ms = ms) => ({ count: 1, meanMs: ms, p95Ms });
    expect(found?.days).toEqual([
      { ...nothing, day: '2026-03-28', type: 'send-email', created: 1 },
      // The night the clocks change in Europe: a day has 24 hours all the same.
      {
        ...nothing,
        day: '2026-03-29',
        type: 'send-email',
        wait: exactly(1),
        run: exactly(86_399_999, expect.closeTo(86_399_999, -7) as number),
      },
      { ...nothing, day: '2026-03-30', type: 'send-email', wait: exactly(0) },
      {
        ...nothing,
        day: '2026-03-31',
        type: 'send-email',
        done: 1,
        run: exactly(86_400_000, expect.closeTo(86_400_000, -7) as number),
      },
    ]);
    for (const [from, to, days] of [
      ['2026-03-28', '2026-03-28', 1],
      ['2026-03-29', '2026-03-30', 2],
      ['2026-03-31', '2026-04-30', 1],
      ['2026-04-01', '2026-04-30', 0],
    ] as const)
      expect((await stats.get(USER, { from, to, type: null }, 10))?.days).toHaveLength(days);
  });

  it('stand aside when there are more entries than an answer may have', async () => {
    const { project, stats } = await setup();
    const jobs = Array.from({ length: 4 }, (_, n) =>
      storyOf(n, [['2026-05-19T10:00:00.000Z', events.created({ jobId: uuid(1, n), type: `type-${n}` })]]),
    );
    await project([jobs.flat()]);
    expect(await stats.get(USER, EVERYTHING, 3)).toBeNull();
    expect((await stats.get(USER, EVERYTHING, 4))?.days).toHaveLength(4);
    expect((await stats.get(USER, { ...EVERYTHING, type: 'type-2' }, 3))?.totals.created).toBe(1);
  });

  it('say how current they are', async () => {
    const { database, store, stats } = await setup();
    const asOf = async (queries = stats) => (await queries.get(USER, EVERYTHING, 10))?.asOf;
    const since = async (moment: number) => {
      const answered = Date.parse((await asOf()) ?? '');
      expect(answered).toBeGreaterThanOrEqual(moment);
      expect(answered).toBeLessThanOrEqual(Date.now());
    };
    await since(Date.now());
    const jobId = uuid(1, 1);
    const job = [
      stored(events.created({ jobId }), '2026-05-19T10:00:00.000Z'),
      stored(events.started(1), '2026-05-19T10:00:01.000Z'),
    ];
    await store.append(jobStream(jobId), job, { expected: 'no_stream' });
    expect(await asOf()).toBe('2026-05-19T10:00:00.000Z');
    const [first, second] = await everything(store);
    const counted = (position: bigint) =>
      database.query(
        `INSERT INTO checkpoints (name, position) VALUES ('job_stats', $1)
         ON CONFLICT (name) DO UPDATE SET position = excluded.position`,
        [position],
      );
    await counted(first!.position);
    expect(await asOf()).toBe('2026-05-19T10:00:01.000Z');
    await counted(second!.position);
    await since(Date.now());
    // What says nothing of jobs is not waited for.
    const origin = { jobId, round: 1, attempt: 1, executionId: uuid(3, 1) };
    const lines = Array.from({ length: 100 }, (_, n) =>
      stored({ type: 'JobLogged', data: { ...origin, message: `line ${n}` } }),
    );
    await store.append(jobLogStream(jobId), lines, { expected: 'any' });
    await since(Date.now());
    // A store that was restored from an older backup, and one that is away.
    await counted(1_000_000n);
    expect(await asOf()).toBeNull();
    const nowhere = 'postgres://nobody@127.0.0.1:1/none';
    const options = { url: nowhere, max: 1, applicationName: 'test', logger: silentLogger };
    const away = createPostgresEventStore({ ...options, database: createDatabase(options) });
    onTestFinished(() => away.close());
    expect(await asOf(createJobStatsQueries({ database, store: away }))).toBeNull();
  });
});

/** The events of one job, stored at these times. */
function storyOf(n: number, story: readonly (readonly [at: string, event: JobEvent])[]): PositionedEvent[] {
  return story.map(([at, event], revision) => ({
    ...stored(event, at),
    stream: jobStream(uuid(1, n)),
    revision,
    position: BigInt(n * 100 + revision),
  }));
}

/** The same cuts in other events. */
function inBatchesLike(
  batches: readonly (readonly PositionedEvent[])[],
  all: readonly PositionedEvent[],
): PositionedEvent[][] {
  let from = 0;
  return batches.map(({ length }) => all.slice(from, (from += length)));
}
