import { describe, expect, it } from 'vitest';
import { randomUUID } from 'node:crypto';
import type { Queryable } from '../../src/database.ts';
import type { SubscribeOptions } from '../../src/events/event-store.ts';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import { maintenanceName } from '../../src/projections/maintenance-connections.ts';
import { rebuild } from '../../src/projections/rebuild.ts';
import { projections } from '../../src/projections/registry.ts';
import { listProjections } from '../../src/projections/status.ts';
import { verify } from '../../src/projections/verify.ts';
import { silentLogger } from '../support/database.ts';
import { uuid } from '../support/histories.ts';
import { createMaintained, stores } from '../support/maintaining.ts';
import type { Maintained } from '../support/maintaining.ts';
import { writeJobs } from '../support/many-jobs.ts';
import { rowsOf } from '../support/read-models.ts';

const verifyAll = (test: Maintained) => test.maintain((m) => verify(m, projections));

/** Names of the schemas that versions have now. */
async function schemas({ database }: Maintained): Promise<string[]> {
  const { rows } = await database.query<{ nspname: string }>(
    `SELECT nspname FROM pg_namespace WHERE nspname LIKE 'read_model%' ORDER BY 1`,
  );
  return rows.map(({ nspname }) => nspname);
}

describe.each(stores)('verifying over %s', (kind) => {
  it('finds exactly the rows and columns that were changed, and none after a rebuild', async () => {
    const test = await createMaintained(kind);
    const { database } = test;
    await writeJobs(test.store, 30);
    await test.project();
    expect((await verifyAll(test)).map(({ differing }) => differing)).toEqual(projections.map(() => 0));

    const idOf = async (sql: string): Promise<string> => {
      const { rows } = await database.query<{ id: string }>(sql);
      return rows[0]!.id;
    };
    const changed = await idOf(
      `UPDATE jobs SET error = 'nobody said so', payload = '{"a": 1}'
       WHERE id = (SELECT id FROM jobs ORDER BY id OFFSET 7 LIMIT 1) RETURNING id`,
    );
    const { rows: miscounted } = await database.query<{ user_id: string }>(
      `UPDATE job_totals SET done = 1001 WHERE user_id = (SELECT min(user_id) FROM job_totals) RETURNING user_id`,
    );
    const deleted = await idOf(
      `DELETE FROM job_logs WHERE id = (SELECT id FROM job_logs ORDER BY id OFFSET 11 LIMIT 1) RETURNING id`,
    );
    const added = await idOf(
      `INSERT INTO webhook_logs SELECT '${uuid(7, 7)}', job_id, 900000, url, payload, status_code, success, attempt, error, created_at
       FROM webhook_logs LIMIT 1 RETURNING id`,
    );
    const before = await rowsOf(database);
    const verified = Object.fromEntries((await verifyAll(test)).map((one) => [one.projection, one]));
    expect(verified['jobs']).toMatchObject({
      differing: 2,
      tables: [
        { table: 'jobs', rows: 30, changed: 1 },
        { table: 'job_totals', rows: 30, changed: 1 },
      ],
    });
    expect(verified['jobs']?.differences).toEqual([
      {
        table: 'jobs',
        key: { id: changed },
        kind: 'changed',
        columns: [
          {
            column: 'payload',
            live: '{"a": 1}',
            expected: expect.stringContaining('"to":"someone-') as string,
          },
          { column: 'error', live: 'nobody said so', expected: null },
        ],
      },
      {
        table: 'job_totals',
        key: miscounted[0],
        kind: 'changed',
        columns: [{ column: 'done', live: '1001', expected: '1' }],
      },
    ]);
    expect(verified['job_logs']).toMatchObject({
      differing: 1,
      differences: [{ table: 'job_logs', key: { id: deleted }, kind: 'missing', columns: [] }],
    });
    expect(verified['webhook_logs']).toMatchObject({
      differing: 1,
      differences: [{ table: 'webhook_logs', key: { id: added }, kind: 'extra', columns: [] }],
    });
    // It only looks.
    expect(await rowsOf(database)).toEqual(before);
    expect(await schemas(test)).toEqual([]);

    await test.maintain((m) => rebuild(m, projections));
    expect((await verifyAll(test)).map(({ differing }) => differing)).toEqual(projections.map(() => 0));
  });

  it('compares both sides at one position while events keep coming', async () => {
    const test = await createMaintained(kind);
    await writeJobs(test.store, 5);
    const projector = test.startProjector();
    await test.caughtUp();
    let written = 5;
    const stopped = new AbortController();
    const writing = (async () => {
      for (; !stopped.signal.aborted; written += 3) await writeJobs(test.store, written + 3, written);
    })();
    try {
      for (let i = 0; i < 3; i++) {
        const verified = await verifyAll(test);
        expect(verified.flatMap(({ differences }) => differences)).toEqual([]);
      }
    } finally {
      stopped.abort();
      await writing;
    }
    await test.caughtUp();
    await projector.stop();
  }, 120_000);
});

describe('verifying', () => {
  it('tells of many differences by number and of the first by name', async () => {
    const test = await createMaintained();
    await writeJobs(test.store, 50);
    await test.project();
    await test.database.query(`UPDATE jobs SET user_id = user_id || 'x'`);
    const [jobs] = projections;
    const [verified] = await test.maintain((m) => verify(m, [jobs!]));
    expect(verified).toMatchObject({
      differing: 50,
      tables: [
        { changed: 50, missing: 0, extra: 0 },
        { changed: 0, missing: 0, extra: 0 },
      ],
    });
    expect(verified?.differences).toHaveLength(20);
    expect(
      new Set(verified?.differences.flatMap(({ columns }) => columns.map(({ column }) => column))),
    ).toEqual(new Set(['user_id']));
  });

  it('sees both sides at one position even when Postgres lets go of the live one too early', async () => {
    const test = await createMaintained();
    const { database, store } = test;
    await writeJobs(store, 5);
    await test.project();
    const holder = randomUUID();
    const long = createDatabase({
      url: test.url,
      max: 8,
      applicationName: maintenanceName(holder),
      logger: silentLogger,
    });
    let holds = 0;
    let cut = 0;
    /** Events come between catching up and holding, so that there are some to take while the live one is held. */
    const slow = {
      ...long,
      transaction: <T>(work: (tx: Queryable) => Promise<T>) =>
        long.transaction((tx) =>
          work({
            async query(sql, values) {
              if (sql.includes('FOR UPDATE') && ++holds === 1) {
                await writeJobs(store, 6, 5);
                await test.project();
              }
              return tx.query(sql, values);
            },
          }),
        ),
    };
    /** The first time that events are taken while the live one is held, the connection that holds it is cut, and it moves on. */
    const cutting = {
      ...store,
      async *subscribe(options: SubscribeOptions) {
        if (holds === 1 && ++cut === 1) {
          await database.query(
            `SELECT pg_terminate_backend(pid, 5000) FROM pg_locks
             WHERE relation = 'checkpoints'::regclass AND mode = 'RowShareLock' AND granted`,
          );
          await writeJobs(store, 8, 6);
          await test.project();
        }
        yield* store.subscribe(options);
      },
    };
    const [jobs] = projections;
    const verifying = test.maintain((m) => verify(m, [jobs!]), { holder, database: slow, store: cutting });
    const [verified] = await verifying.finally(() => long.close());
    expect(cut).toBeGreaterThan(0);
    expect(verified?.differences).toEqual([]);
    expect(verified?.tables).toMatchObject([{ rows: 8 }, { rows: 8 }]);
  });

  it('leaves nothing behind when it is interrupted, and the next call clears up after a killed one', async () => {
    const test = await createMaintained();
    await writeJobs(test.store, 30);
    await test.project();
    const interrupt = new AbortController();
    const verifying = test.maintain((m) => verify(m, projections), {
      signal: interrupt.signal,
      batchSize: 10,
      onProgress: () => interrupt.abort(new Error('Ctrl-C')),
    });
    await expect(verifying).rejects.toThrow('Ctrl-C');
    expect(await schemas(test)).toEqual([]);

    // As kill -9 leaves it.
    await test.database.query(
      `CREATE SCHEMA read_model_jobs_5; CREATE UNLOGGED TABLE read_model_jobs_5.jobs (LIKE jobs);
       INSERT INTO projection_versions (projection, version, state, position, release) VALUES ('jobs', 5, 'verifying', 3, 'test')`,
    );
    await verifyAll(test);
    expect(await schemas(test)).toEqual([]);
    expect((await listProjections(test.database, projections)).flatMap(({ others }) => others)).toEqual([]);
  });
});
