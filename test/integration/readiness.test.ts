import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { jobStream } from '../../src/events/job.ts';
import { openRedis } from '../../src/infrastructure/redis/connect.ts';
import { createReadiness } from '../../src/queries/readiness.ts';
import { consume } from '../../src/subscriptions/consumer.ts';
import type { Consumer } from '../../src/subscriptions/consumer.ts';
import { silentLogger } from '../support/database.ts';
import { events } from '../support/job-spec.ts';
import { startRedisServer, withRedis } from '../support/redis-server.ts';
import { createTestStore, stored } from '../support/store.ts';
import { eventually } from '../support/waiting.ts';
import { watched } from '../support/work.ts';

async function setup() {
  const test = await createTestStore();
  onTestFinished(() => test.drop());
  const { store, database } = test;
  const check = createReadiness({ store, database, projections: ['jobs', 'job_logs'], logger: silentLogger });
  const append = async () => {
    const event = stored(events.created({ jobId: randomUUID() }));
    await store.append(jobStream(event.data['jobId'] as string), [event], { expected: 'no_stream' });
    return event;
  };
  const setCheckpoint = (name: string, position: bigint) =>
    database.query(
      `INSERT INTO checkpoints (name, position) VALUES ($1, $2)
       ON CONFLICT (name) DO UPDATE SET position = excluded.position, error = NULL`,
      [name, position],
    );
  const allAtHead = async () => {
    for (const name of ['jobs', 'job_logs', 'dispatcher']) await setCheckpoint(name, await store.head());
  };
  return { store, database, check, append, setCheckpoint, allAtHead, drop: () => test.drop() };
}

describe('readiness', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it('is not ready before the jobs projection has ever run', async () => {
    const { check } = await setup();
    expect(await check()).toMatchObject({
      ready: false,
      parts: {
        postgres: { status: 'ok' },
        eventStore: { status: 'ok' },
        'projection:jobs': { status: 'failed' },
      },
    });
  });

  it('looks once for all who ask at the same time, and again for who comes later', async () => {
    const { store, database } = await setup();
    let statements = 0;
    const counting = watched(database, () => statements++);
    const check = createReadiness({ store, database: counting, projections: ['jobs'], logger: silentLogger });
    const first = await check();
    const forOne = statements;
    const answers = await Promise.all(Array.from({ length: 50 }, check));
    expect(answers).toEqual(answers.map(() => first));
    expect([forOne > 0, statements]).toEqual([true, 2 * forOne]);
  });

  it('is ready when every part is where it should be, and says how far behind they are', async () => {
    const { check, append, setCheckpoint, allAtHead, store, database } = await setup();
    await append();
    await allAtHead();
    await append();
    await setCheckpoint('jobs', await store.head());
    await database.query(
      `INSERT INTO workers (worker_id, heartbeat, executions, handler_types, beat_at) VALUES ('w', 1, '{}', '{}', clock_timestamp())`,
    );
    const { ready, parts } = await check();
    expect(ready).toBe(true);
    expect(parts['projection:jobs']).toEqual({ status: 'ok', lag: 0 });
    expect(parts['dispatcher']?.lag).toBeGreaterThan(0);
    expect(parts['workers']).toEqual({ status: 'ok', detail: '1 alive' });
  });

  it.skipIf(!withRedis)(
    'tells of a Redis that does not answer, without which requests are served and jobs wait',
    async () => {
      const { store, database, allAtHead } = await setup();
      await allAtHead();
      const server = await startRedisServer();
      onTestFinished(() => server.dispose());
      const redis = await openRedis({ url: server.url, logger: silentLogger });
      onTestFinished(() => redis.close());
      const pingRedis = () => redis.shared.ping();
      const check = createReadiness({
        store,
        database,
        projections: ['jobs'],
        pingRedis,
        logger: silentLogger,
      });
      expect(await check()).toMatchObject({ ready: true, parts: { redis: { status: 'ok' } } });
      await server.stop();
      expect(await check()).toMatchObject({
        ready: true,
        parts: { redis: { status: 'degraded', detail: 'does not answer: jobs wait until it is back' } },
      });
      await server.start();
      await eventually(async () => (await check()).parts.redis?.status === 'ok');
    },
  );

  it.each([
    ['jobs', false, 'failed'],
    ['job_logs', true, 'degraded'],
  ])('names the event that stopped %s, and keeps the reason from strangers', async (name, ready, status) => {
    const { check, append, store, database, allAtHead } = await setup();
    await allAtHead();
    const event = await append();
    const stopped: Consumer = {
      name,
      prefixes: [],
      apply: () => Promise.reject(new Error('no such column')),
    };
    const { signal } = new AbortController();
    await consume(stopped, { store, database, logger: silentLogger, signal });
    const state = await check();
    expect(state.ready).toBe(ready);
    expect(state.parts[`projection:${name}`]?.status).toBe(status);
    expect(state.parts[`projection:${name}`]?.detail).toContain(`in front of event ${event.id}`);
    expect(JSON.stringify(state)).not.toContain('no such column');
    const { rows } = await database.query('SELECT error FROM checkpoints WHERE name = $1', [name]);
    expect(rows).toEqual([{ error: expect.stringContaining('no such column') as string }]);
  });

  it('takes a checkpoint that trails and does not move for one that nobody moves', async () => {
    const { check, append, setCheckpoint, allAtHead, store } = await setup();
    await append();
    await allAtHead();
    await append();
    vi.useFakeTimers({ toFake: ['performance'] });
    expect((await check()).ready).toBe(true);
    vi.advanceTimersByTime(31_000);
    const stalled = await check();
    expect(stalled.ready).toBe(false);
    expect(stalled.parts['projection:jobs']).toMatchObject({
      status: 'failed',
      detail: expect.stringContaining('does not move') as string,
    });
    expect(stalled.parts['dispatcher']?.status).toBe('degraded');
    await setCheckpoint('jobs', await store.head());
    expect((await check()).ready).toBe(true);
  });

  it('does not call a long idle time a stall when the next event comes', async () => {
    const { check, append, allAtHead } = await setup();
    await append();
    await allAtHead();
    vi.useFakeTimers({ toFake: ['performance'] });
    await check();
    vi.advanceTimersByTime(3_600_000);
    await append();
    expect((await check()).ready).toBe(true);
  });

  it('says so, and does not throw, when Postgres is away', async () => {
    const { check, drop } = await setup();
    await drop();
    const { ready, parts } = await check();
    expect(ready).toBe(false);
    expect(parts['postgres']).toEqual({ status: 'failed', detail: 'does not answer' });
  });

  it('says so when the event store is away', async () => {
    const { database } = await setup();
    const store = { head: () => Promise.reject(new Error('gone')) } as never;
    const { ready, parts } = await createReadiness({
      database,
      store,
      projections: ['jobs'],
      logger: silentLogger,
    })();
    expect(ready).toBe(false);
    expect(parts).toMatchObject({
      postgres: { status: 'ok' },
      eventStore: { status: 'failed', detail: 'does not answer' },
    });
  });
});
