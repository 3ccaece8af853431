import { describe, expect, it, onTestFinished } from 'vitest';
import { UnavailableError } from '../../src/errors.ts';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import type { PostgresDatabase } from '../../src/infrastructure/postgres/database.ts';
import { createCuttingProxy } from '../support/cutting-proxy.ts';
import { createTestDatabase, silentLogger } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { createGate, eventually } from '../support/waiting.ts';

/** One connection that plans its statements once. */
function openPreparing({ url }: TestDatabase): PostgresDatabase {
  const options = { url, max: 1, applicationName: 'test', logger: silentLogger, prepare: true };
  const database = createDatabase(options);
  onTestFinished(() => database.close());
  return database;
}

describe('database', () => {
  it('reads bigint, timestamptz and json as the port says', async () => {
    await using test = await createTestDatabase({ migrated: false });
    const { rows } = await test.database.query(
      `SELECT $1::bigint AS big, ARRAY[1, NULL]::bigint[] AS bigs, '2026-01-01Z'::timestamptz AS at, '{"a":1}'::json AS json`,
      [9_007_199_254_740_993n],
    );
    expect(rows[0]).toEqual({
      big: 9_007_199_254_740_993n,
      bigs: [1n, null],
      at: new Date('2026-01-01T00:00:00Z'),
      json: { a: 1 },
    });
  });

  it('commits a transaction that resolves and rolls back one that throws', async () => {
    await using test = await createTestDatabase({ migrated: false });
    await test.database.query('CREATE TABLE t (n int)');
    await test.database.transaction((tx) => tx.query('INSERT INTO t VALUES (1)'));
    const failing = test.database.transaction(async (tx) => {
      await tx.query('INSERT INTO t VALUES (2)');
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect((await test.database.query('SELECT n FROM t')).rows).toEqual([{ n: 1 }]);
  });

  it('does not take a swallowed error in a transaction for a commit', async () => {
    await using test = await createTestDatabase({ migrated: false });
    const swallowing = test.database.transaction(async (tx) => {
      await tx.query('SELECT 1 / 0').catch(() => undefined);
    });
    await expect(swallowing).rejects.toThrow('rolled back');
  });

  it('reports a connection cut in a transaction as unavailable, and works on', async () => {
    await using test = await createTestDatabase({ migrated: false });
    const cut = test.database.transaction((tx) => tx.query('SELECT pg_terminate_backend(pg_backend_pid())'));
    await expect(cut).rejects.toThrow(UnavailableError);
    const { rows } = await test.database.query('SELECT 1 AS one');
    expect(rows).toEqual([{ one: 1 }]);
  });

  it('plans a prepared statement anew when what it returns has changed', async () => {
    await using test = await createTestDatabase({ migrated: false });
    const database = openPreparing(test);
    await database.query('CREATE TABLE t (n int)');
    await database.query('INSERT INTO t VALUES ($1)', [1]);
    const select = () => database.query('SELECT * FROM t WHERE n = $1', [1]);
    expect((await select()).rows).toEqual([{ n: 1 }]);
    const { rows } = await database.query<{ count: number }>(
      'SELECT count(*)::int AS count FROM pg_prepared_statements',
    );
    expect(rows[0]?.count).toBeGreaterThan(0);
    await database.query('ALTER TABLE t ADD COLUMN m int DEFAULT 2');
    // What asks again after an outage asks again after this as well.
    await expect(select()).rejects.toThrow(UnavailableError);
    expect((await select()).rows).toEqual([{ n: 1, m: 2 }]);
  });

  it('does not scan a table for a key because the table was small when the statement was planned', async () => {
    await using test = await createTestDatabase({ migrated: false });
    const database = openPreparing(test);
    await database.query('CREATE TABLE t (n int PRIMARY KEY)');
    const explain = async (): Promise<string> => {
      const { rows } = await database.query<{ 'QUERY PLAN': string }>('EXPLAIN EXECUTE kept(1)');
      return rows.map((row) => row['QUERY PLAN']).join('\n');
    };
    await database.query('PREPARE kept AS SELECT n FROM t WHERE n = $1');
    expect(await explain()).not.toContain('Seq Scan');
  });

  describe('with patience', () => {
    /** A database behind a proxy, under the limits of requests. */
    async function open(test: TestDatabase, patience: number, max = 2) {
      const url = new URL(test.url);
      const proxy = await createCuttingProxy({ host: url.hostname, port: Number(url.port) });
      url.port = String(proxy.port);
      const database = createDatabase({
        url: url.href,
        max,
        applicationName: 'impatient',
        logger: silentLogger,
        patience,
      });
      const close = async (): Promise<void> => {
        await proxy.close();
        await database.close();
      };
      return { proxy, database, [Symbol.asyncDispose]: close };
    }

    it.each(['swallow', 'refuse'] as const)(
      'gives up on every statement while the network will %s, and works on afterwards',
      async (manner) => {
        await using test = await createTestDatabase({ migrated: false });
        await using opened = await open(test, 300);
        const { database, proxy } = opened;
        const select = () => database.query('SELECT 1 AS one');
        await Promise.all([select(), select()]);
        const restore = proxy[manner]();
        // More than there are connections: some wait for one, some for the answer.
        const outcomes = await Promise.allSettled([
          ...Array.from({ length: 10 }, select),
          database.transaction((tx) => tx.query('SELECT 1')),
        ]);
        for (const outcome of outcomes) {
          expect(outcome.status === 'rejected' && outcome.reason instanceof UnavailableError).toBe(true);
        }
        restore();
        await eventually(async () => (await select()).rows.length === 1);
      },
    );

    it('gives up on a statement that the server does not finish, and has it ended there', async () => {
      await using test = await createTestDatabase({ migrated: false });
      await using opened = await open(test, 300);
      await expect(opened.database.query('SELECT pg_sleep(60)')).rejects.toThrow(UnavailableError);
      await eventually(async () => {
        const { rows } = await test.database.query(
          `SELECT FROM pg_stat_activity WHERE application_name = 'impatient' AND query LIKE '%pg_sleep%' AND state = 'active'`,
        );
        return rows.length === 0;
      });
    });

    it('lets a transaction take no longer than a statement', async () => {
      await using test = await createTestDatabase({ migrated: false });
      await test.database.query('CREATE TABLE t (n int)');
      await using opened = await open(test, 500);
      const slow = opened.database.transaction(async (tx) => {
        for (let n = 0; n < 1_000; n++) await tx.query('INSERT INTO t SELECT 1 FROM pg_sleep(0.01)');
      });
      await expect(slow).rejects.toThrow(UnavailableError);
      await eventually(async () => (await test.database.query('SELECT FROM t')).rows.length === 0);
    });

    it('turns statements away at once when too many wait', async () => {
      await using test = await createTestDatabase({ migrated: false });
      await using opened = await open(test, 5_000, 1);
      const { database } = opened;
      const lock = createGate();
      const holding = database.transaction(() => lock.opened);
      const waiting = Array.from({ length: 5_000 }, () => database.query('SELECT 1'));
      await eventually(() => database.pool.waitingCount === 5_000);
      await expect(database.query('SELECT 1')).rejects.toThrow(
        '5000 statements wait for a connection already',
      );
      lock.open();
      await holding;
      await Promise.allSettled(waiting);
    });
  });

  describe('pipeline', () => {
    const insert = (n: number) => ({ sql: 'INSERT INTO t VALUES ($1)', values: [n] });

    async function setup() {
      const test = await createTestDatabase({ migrated: false });
      onTestFinished(() => test.drop());
      await test.database.query('CREATE TABLE t (n int PRIMARY KEY)');
      const database = openPreparing(test);
      const numbers = async () =>
        (await test.database.query<{ n: number }>('SELECT n FROM t ORDER BY n')).rows.map(({ n }) => n);
      return { database, numbers };
    }

    it('writes all that is returned, after the first statement', async () => {
      const { database, numbers } = await setup();
      await database.pipeline({ sql: 'INSERT INTO t VALUES (1)' }, () => [insert(2), insert(3)]);
      await database.pipeline(insert(4), () => []);
      expect(await numbers()).toEqual([1, 2, 3, 4]);
    });

    it('reads in the transaction, behind the first statement', async () => {
      const { database, numbers } = await setup();
      await database.pipeline(insert(1), async (tx) => {
        const { rows, rowCount } = await tx.query<{ n: number; at: Date }>('SELECT n, now() AS at FROM t');
        expect(rows).toEqual([{ n: 1, at: expect.any(Date) as Date }]);
        expect(rowCount).toBe(1);
        expect(await numbers()).toEqual([]);
        const again = await tx.query<{ at: Date; big: bigint }>('SELECT now() AS at, $1::bigint AS big', [
          7n,
        ]);
        expect(again.rows).toEqual([{ at: rows[0]?.at, big: 7n }]);
        return [insert(2)];
      });
      expect(await numbers()).toEqual([1, 2]);
    });

    it.each([
      ['the first', insert(1), [insert(2), insert(3)]],
      ['one in the middle', insert(2), [insert(1), insert(3)]],
      ['the last', insert(2), [insert(3), insert(1)]],
    ])('writes nothing when %s fails, with reads and without, and works on', async (_, first, rest) => {
      const { database, numbers } = await setup();
      await database.query('INSERT INTO t VALUES (1)');
      const plain = database.pipeline(first, () => rest);
      await expect(plain).rejects.toMatchObject({ code: '23505' });
      const reading = database.pipeline(first, async (tx) => {
        await tx.query('SELECT n FROM t');
        return rest;
      });
      await expect(reading).rejects.toMatchObject({ code: '23505' });
      expect(await numbers()).toEqual([1]);
      await database.pipeline(insert(2), () => [insert(3)]);
      expect(await numbers()).toEqual([1, 2, 3]);
    });

    it('writes nothing when the work throws, before its reads and after them', async () => {
      const { database, numbers } = await setup();
      const before = database.pipeline(insert(1), () => Promise.reject(new Error('no')));
      await expect(before).rejects.toThrow('no');
      const after = database.pipeline(insert(1), async (tx) => {
        await tx.query('SELECT n FROM t');
        throw new Error('no');
      });
      await expect(after).rejects.toThrow('no');
      expect(await numbers()).toEqual([]);
      await database.pipeline(insert(1), () => []);
      expect(await numbers()).toEqual([1]);
    });

    it('does not take a swallowed error for a commit', async () => {
      const { database, numbers } = await setup();
      for (const reads of [1, 2]) {
        const swallowing = database.pipeline(insert(1), async (tx) => {
          if (reads === 2) await tx.query('SELECT n FROM t');
          await tx.query('SELECT 1 / 0').catch(() => undefined);
          return [];
        });
        await expect(swallowing).rejects.toThrow('rolled back');
      }
      expect(await numbers()).toEqual([]);
    });

    it('plans a statement once and can use the plan, whichever way it came', async () => {
      const { database } = await setup();
      const plans = async () =>
        (await database.query<{ n: bigint }>('SELECT count(*) AS n FROM pg_prepared_statements')).rows[0]?.n;
      for (let n = 0; n < 9; n += 3) {
        await database.pipeline(insert(n), () => [insert(n + 1)]);
        await database.query(insert(n).sql, [n + 2]);
      }
      expect(await plans()).toBe(1n);
    });

    it('reports a connection cut under it as unavailable, and works on', async () => {
      const { database, numbers } = await setup();
      const cut = { sql: 'SELECT pg_terminate_backend(pg_backend_pid())' };
      await expect(database.pipeline(insert(1), () => [cut, insert(2)])).rejects.toThrow(UnavailableError);
      const reading = database.pipeline(insert(1), async (tx) => {
        await tx.query(cut.sql);
        return [];
      });
      await expect(reading).rejects.toThrow(UnavailableError);
      await database.pipeline(insert(3), () => []);
      expect(await numbers()).toEqual([3]);
    });

    it('sends nothing when a value cannot be sent', async () => {
      const { database, numbers } = await setup();
      const endless: Record<string, unknown> = {};
      endless['self'] = endless;
      const unfit = { sql: 'INSERT INTO t VALUES ($1)', values: [endless] };
      await expect(database.pipeline(insert(1), () => [unfit])).rejects.toThrow();
      await database.pipeline(insert(2), () => []);
      expect(await numbers()).toEqual([2]);
    });
  });

  it('closes twice without an error', async () => {
    await using test = await createTestDatabase({ migrated: false });
    await test.database.close();
    await test.database.close();
  });
});
