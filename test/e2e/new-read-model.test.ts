import { randomUUID } from 'node:crypto';
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { EventStore } from '../../src/events/event-store.ts';
import { jobStream } from '../../src/events/job.ts';
import type { JobEvent } from '../../src/events/job.ts';
import { createIdentityStore } from '../../src/identity/identity-store.ts';
import { newApiKey, sha256 } from '../../src/identity/tokens.ts';
import { createEventStoreDbEventStore } from '../../src/infrastructure/eventstoredb/event-store.ts';
import { createPostgresEventStore } from '../../src/infrastructure/postgres/event-store.ts';
import { migrate } from '../../src/infrastructure/postgres/migrate.ts';
import { jobStatsProjection } from '../../src/projections/job-stats.ts';
import { startProjector } from '../../src/projections/projector.ts';
import { projections } from '../../src/projections/registry.ts';
import type { JobStats } from '../../src/queries/job-stats.ts';
import { createTestDatabase, silentLogger } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { startEventStoreDouble } from '../support/eventstoredb/server.ts';
import { httpClient } from '../support/http-client.ts';
import { events } from '../support/job-spec.ts';
import { LiveClient } from '../support/live-client.ts';
import { startService } from '../support/service.ts';
import { expectStats, statsByHand } from '../support/stats-oracle.ts';
import { everything, stored } from '../support/store.ts';
import { createGate, eventually } from '../support/waiting.ts';

const TEST_TIMEOUT_MS = 240_000;
const MIGRATIONS = new URL('../../migrations/', import.meta.url);
const DAY_MS = 86_400_000;

/** A database as the build before the read model left it. */
async function olderDatabase(): Promise<TestDatabase> {
  const test = await createTestDatabase({ migrated: false });
  const directory = await mkdtemp(path.join(tmpdir(), 'asyncly-migrations-'));
  onTestFinished(async () => {
    await test.drop();
    await rm(directory, { recursive: true });
  });
  for (const name of await readdir(MIGRATIONS))
    if (!name.endsWith('_job_stats.sql')) await cp(new URL(name, MIGRATIONS), path.join(directory, name));
  await migrate(test.url, { logger: silentLogger, directory });
  const { rows } = await test.database.query(`SELECT to_regclass('job_stats') AS job_stats`);
  expect(rows).toEqual([{ job_stats: null }]);
  return test;
}

async function newUser({ database }: TestDatabase): Promise<{ id: string; token: string }> {
  const [id, token] = [randomUUID(), newApiKey()];
  const user = { id, email: `${id}@example.com`, passwordHash: '', createdAt: new Date() };
  await createIdentityStore(database).addUser(user, sha256(token));
  return { id, token };
}

/** Some weeks of jobs that have ended, of every kind of end there is, and some that wait for a year from now. */
async function writeHistory(store: EventStore, userIds: readonly string[]): Promise<void> {
  const began = Date.now() - 40 * DAY_MS;
  const write = async (n: number): Promise<void> => {
    const jobId = randomUUID();
    const userId = userIds[n % userIds.length] ?? '';
    const type = ['send-email', 'generate-report', 'other'][n % 3] ?? '';
    const ended = began + n * 0.11 * DAY_MS;
    const story = storyOf(n % 7, ended);
    const created = events.created({ jobId, userId, type, ...(n % 7 === 6 && { runAt: inAYear() }) });
    const all = [[0, created] as const, ...story];
    await store.append(
      jobStream(jobId),
      all.map(([after, event]) => stored(event, new Date(ended + after * (1 + n / 10)).toISOString())),
      { expected: 'no_stream' },
    );
  };
  for (let n = 0; n < 300; n += 20) await Promise.all(Array.from({ length: 20 }, (_, i) => write(n + i)));
}

const inAYear = (): string => new Date(Date.now() + 365 * DAY_MS).toISOString();

function storyOf(kind: number, created: number): readonly (readonly [after: number, event: JobEvent])[] {
  const second = { attempt: 2 };
  const retryAt = new Date(created + 1_500).toISOString();
  switch (kind) {
    case 0:
      return [
        [30, events.started(1)],
        [2_400, events.completed(1)],
      ];
    case 1:
      return [
        [30, events.started(1)],
        [500, events.attemptFailed(1, { retryAt })],
        [1_700, events.started(2, second)],
        [9_000, events.completed(2, second)],
      ];
    case 2:
      return [
        [10, events.started(1)],
        [600, events.released(1)],
        [700, events.started(2)],
        [800, events.failed(2)],
        [DAY_MS, events.retried(2)],
        [DAY_MS + 5, events.started(3, { round: 2 })],
        [DAY_MS + 700, events.completed(3, { round: 2 })],
      ];
    case 3:
      return [[70, events.cancelled()]];
    case 4:
      return [
        [40, events.started(1)],
        [90, events.cancelRequested(1)],
        [95, events.cancelled()],
      ];
    case 5:
      return [
        [40, events.started(1)],
        [15_000, events.started(2, { supersedes: '0196e7d2-0000-7000-8000-000000000101' })],
        [15_200, events.failed(2)],
      ];
    default:
      return [];
  }
}

/** The read models of the build before, brought up to the newest event. */
async function projectAsBefore({ database }: TestDatabase, store: EventStore): Promise<void> {
  const older = projections.filter((projection) => projection !== jobStatsProjection);
  const options = { store, database, logger: silentLogger, holder: randomUUID() };
  const projector = startProjector({ ...options, projections: older });
  try {
    const head = await store.head();
    await eventually(async () => {
      const { rows } = await database.query<{ position: bigint }>('SELECT position FROM checkpoints');
      return rows.length === older.length && rows.every(({ position }) => position >= head);
    }, 60_000);
  } finally {
    await projector.stop();
  }
}

/** Keeps the projection from writing, as if there were no end of history. */
async function holdUp({ database }: TestDatabase): Promise<() => Promise<void>> {
  const [held, released] = [createGate(), createGate()];
  const holding = database.transaction(async (tx) => {
    await tx.query('SET LOCAL idle_in_transaction_session_timeout = 0');
    await tx.query('LOCK TABLE job_stats_jobs IN EXCLUSIVE MODE');
    held.open();
    await released.opened;
  });
  await Promise.race([held.opened, holding]);
  let releasing: Promise<void> | null = null;
  const release = (): Promise<void> => {
    released.open();
    return (releasing ??= holding);
  };
  onTestFinished(release);
  return release;
}

interface Placed {
  readonly store: EventStore;
  readonly settings: Readonly<Record<string, string>>;
}

/** Where the events of history are. */
const places: Readonly<Record<string, (test: TestDatabase) => Promise<Placed>>> = {
  Postgres: ({ url, database }) => {
    const store = createPostgresEventStore({ url, database, logger: silentLogger });
    return Promise.resolve({ store, settings: {} });
  },
  EventStoreDB: async () => {
    const double = await startEventStoreDouble();
    onTestFinished(() => double.stop());
    const store = createEventStoreDbEventStore({ url: double.url, logger: silentLogger });
    return { store, settings: { EVENTSTORE_URL: double.url } };
  },
};

describe('a read model over history that is older than itself', () => {
  test.each(Object.keys(places))(
    'is filled from the first event in %s, while everything else goes on',
    async (place) => {
      const older = await olderDatabase();
      const { store, settings } = await places[place]!(older);
      onTestFinished(() => store.close());
      const [user, stranger] = [await newUser(older), await newUser(older)];
      await writeHistory(store, [user.id, stranger.id]);
      await projectAsBefore(older, store);

      await migrate(older.url, { logger: silentLogger });
      const began = Date.now();
      const release = await holdUp(older);
      const service = await startService({ DATABASE_URL: older.url, ...settings });
      onTestFinished(() => service.stop());
      const call = httpClient(service.base);
      const ready = async () => {
        const { status, body } = await call('GET', '/readyz');
        const { parts } = body as { parts: Record<string, { status: string; lag: number }> };
        return { status, part: parts['projection:job_stats'] };
      };
      const span = `from=${dayFrom(-60)}&to=${dayFrom(1)}`;
      const statsOf = async (token: string): Promise<JobStats> => {
        const { status, body } = await call('GET', `/api/stats?${span}`, { token });
        expect(status).toBe(200);
        return body.data as JobStats;
      };

      // A job from submission to its last message, with all of history still to be counted.
      const client = new LiveClient(`${service.wsBase}/ws?token=${user.token}`);
      onTestFinished(() => client.close());
      await client.message('connected');
      client.send({ type: 'subscribe', scope: 'all' });
      const submitted = await call('POST', '/api/jobs', {
        token: user.token,
        body: { type: 'send-email', payload: { to: 'a@example.com' } },
      });
      expect(submitted.status).toBe(201);
      await client.message('job:done', (submitted.body.data as { id: string }).id, 60_000);
      const waiting = await eventually(async () => {
        const { status, part } = await ready();
        return status === 200 && part;
      });
      expect(waiting.status).toBe('ok');
      expect(waiting.lag).toBeGreaterThan(0);
      const [first] = await everything(store);
      expect(await statsOf(user.token)).toMatchObject({
        asOf: first!.metadata.occurredAt,
        totals: { created: 0, done: 0 },
        days: [],
      });

      await release();
      for (const { id, token } of [user, stranger]) {
        await eventually(async () => {
          const stats = await statsOf(token);
          const filter = { userId: id, from: dayFrom(-60), to: dayFrom(1), type: null };
          expectStats(stats, statsByHand(await everything(store), filter));
          expect(stats.totals.created).toBe(id === user.id ? 151 : 150);
          expect(Date.parse(stats.asOf ?? '')).toBeGreaterThan(began);
          return true;
        }, 60_000);
      }
      expect(await ready()).toMatchObject({ status: 200, part: { status: 'ok' } });
    },
    TEST_TIMEOUT_MS,
  );
});

function dayFrom(days: number): string {
  return new Date(Date.now() + days * DAY_MS).toISOString().slice(0, 10);
}
