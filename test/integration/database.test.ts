import { describe, expect, it } from 'vitest';
import { UnavailableError } from '../../src/errors.ts';
import { createTestDatabase } from '../support/database.ts';

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

  it('closes twice without an error', async () => {
    await using test = await createTestDatabase({ migrated: false });
    await test.database.close();
    await test.database.close();
  });
});
