import { createHash, randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { describe, expect, test } from 'vitest';
import { copyAccounts } from '../../src/identity/copy-accounts.ts';
import { openBuilding } from '../../src/projections/open-version.ts';
import { rebuild } from '../../src/projections/rebuild.ts';
import { projections } from '../../src/projections/registry.ts';
import { LeaderAtWorkError, resetReadModels } from '../../src/projections/reset.ts';
import { listProjections } from '../../src/projections/status.ts';
import type { Queryable } from '../../src/database.ts';
import { consumerProblems, workerProblems } from '../../src/queries/role-health.ts';
import { createTestDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { createMaintained } from '../support/maintaining.ts';
import { writeJobs } from '../support/many-jobs.ts';
import { freshRows, rowsOf } from '../support/read-models.ts';

const never = new AbortController().signal;
const TABLES = ['users', 'refresh_tokens', 'api_keys', 'webhook_secrets'];

async function addAccount({ database }: TestDatabase, email: string): Promise<string> {
  const id = randomUUID();
  const bytes = (text: string) => createHash('sha256').update(`${id} ${text}`).digest();
  await database.query('INSERT INTO users VALUES ($1, $2, $3, now())', [id, email, '$2b$10$hash']);
  await database.query(
    `INSERT INTO refresh_tokens (token_hash, user_id, created_at, expires_at, session_id) VALUES ($1, $2, now(), now(), $3)`,
    [bytes('token'), id, randomUUID()],
  );
  await database.query('INSERT INTO api_keys VALUES ($1, $2, now())', [bytes('key'), id]);
  await database.query('INSERT INTO webhook_secrets VALUES ($1, $2, now(), null)', [id, bytes('secret')]);
  return id;
}

async function accountsOf({ database }: TestDatabase): Promise<object[]> {
  const found = await Promise.all(
    TABLES.map((table) =>
      database.query<{ row: object }>(`SELECT to_jsonb(t) AS row FROM ${table} t ORDER BY 1`),
    ),
  );
  return found.map(({ rows }) => rows);
}

describe('accounts', () => {
  test('are copied with all that lets their owners in, and twice is as good as once', async () => {
    await using from = await createTestDatabase();
    await using to = await createTestDatabase();
    for (const name of ['a', 'b', 'ü']) await addAccount(from, `${name}@example.com`);
    const first = await copyAccounts(from.database, to.database, never);
    expect(first).toEqual(TABLES.map((table) => ({ table, found: 3, copied: 3 })));
    expect(await accountsOf(to)).toEqual(await accountsOf(from));

    await addAccount(from, 'later@example.com');
    const second = await copyAccounts(from.database, to.database, never);
    expect(second).toEqual(TABLES.map((table) => ({ table, found: 4, copied: 1 })));
    expect(await accountsOf(to)).toEqual(await accountsOf(from));
  });

  test('are copied all or none when somebody else has one of the addresses', async () => {
    await using from = await createTestDatabase();
    await using to = await createTestDatabase();
    await addAccount(from, 'free@example.com');
    await addAccount(from, 'taken@example.com');
    await addAccount(to, 'Taken@example.com');
    const before = await accountsOf(to);
    await expect(copyAccounts(from.database, to.database, never)).rejects.toThrow(/users .*users_email/);
    expect(await accountsOf(to)).toEqual(before);
  });
});

describe('read models', () => {
  test('are emptied with their checkpoints, and accounts stay', async () => {
    await using test = await createTestDatabase();
    const { database } = test;
    await addAccount(test, 'a@example.com');
    await database.query(`INSERT INTO checkpoints (name, position) VALUES ('jobs', 7), ('dispatcher', 7)`);
    await database.query(`INSERT INTO open_work VALUES ('job', $1, 1, 1, now())`, [randomUUID()]);
    await resetReadModels(database, projections);
    for (const table of [...projections.map(({ name }) => name), 'open_work', 'checkpoints']) {
      expect((await database.query(`SELECT FROM ${table}`)).rowCount, table).toBe(0);
    }
    expect((await database.query('SELECT FROM users')).rowCount).toBe(1);
  });

  test('lose what was kept for a rollback, and what was being built, and are known by new numbers', async () => {
    const test = await createMaintained();
    const { database } = test;
    await writeJobs(test.store, 3);
    await test.project();
    const [jobs] = projections;
    await test.maintain((m) => rebuild(m, [jobs!]));
    await test.maintain((m) => openBuilding(m, jobs!, false));
    await resetReadModels(database, projections);
    const listed = await listProjections(database, projections);
    expect(listed.map(({ live, others }) => ({ live, others }))).toEqual(
      projections.map(({ name }) => ({ live: name === 'jobs' ? 3 : 2, others: [] })),
    );
    const { rows } = await database.query(
      `SELECT nspname FROM pg_namespace WHERE nspname LIKE 'read_model%'`,
    );
    expect(rows).toEqual([]);
    await test.project();
    expect(await rowsOf(database)).toEqual(await freshRows(test.store));
  });

  test('are left alone while a process makes them', async () => {
    await using test = await createTestDatabase();
    const { database } = test;
    await database.query(`INSERT INTO checkpoints (name, position) VALUES ('jobs', 7)`);
    await database.query(
      `INSERT INTO leases VALUES ('projector', $1, clock_timestamp() + interval '1 min')`,
      [randomUUID()],
    );
    await expect(resetReadModels(database, projections)).rejects.toThrow(LeaderAtWorkError);
    expect((await database.query('SELECT FROM checkpoints')).rowCount).toBe(1);
  });
});

describe('the health of roles', () => {
  test('of consumers: never run, at the end, just behind, behind for long, stopped', async () => {
    await using test = await createTestDatabase();
    await test.database.query(
      `INSERT INTO checkpoints (name, position, error, updated_at) VALUES
         ('at-the-end', 9, NULL, now() - interval '1 day'), ('just-behind', 8, NULL, now()),
         ('left-behind', 8, NULL, now() - interval '1 min'), ('stopped', 8, 'cannot apply', now())`,
    );
    const problems = (name: string) =>
      consumerProblems({ database: test.database, head: 9n, secondLookMs: 1 }, [name]);
    expect(await problems('at-the-end')).toEqual([]);
    expect(await problems('just-behind')).toEqual([]);
    expect(await problems('left-behind')).toEqual(['left-behind does not move']);
    expect(await problems('stopped')).toEqual(['stopped has stopped: cannot apply']);
    expect(await problems('new')).toEqual(['new has never run']);
  });

  test('of a consumer that was idle: it has a moment for what has just come', async () => {
    await using test = await createTestDatabase();
    const { database } = test;
    await database.query(
      `INSERT INTO checkpoints (name, position, updated_at) VALUES ('idle', 8, now() - interval '1 min')`,
    );
    let looks = 0;
    const watched: Queryable = {
      async query(sql, values) {
        const result = await database.query<never>(sql, values);
        // Right after the first look it takes the event that has just come.
        if (++looks === 1) await database.query(`UPDATE checkpoints SET position = 9, updated_at = now()`);
        return result;
      },
    };
    expect(await consumerProblems({ database: watched, head: 9n, secondLookMs: 1 }, ['idle'])).toEqual([]);
    expect(looks).toBe(2);
  });

  test('of a worker: by the heartbeats of its own machine', async () => {
    await using test = await createTestDatabase();
    const beat = (host: string, age: string) =>
      test.database.query(
        `INSERT INTO workers VALUES ($1, 1, '{}', '{}', clock_timestamp() - $2::interval)
         ON CONFLICT (worker_id) DO UPDATE SET beat_at = excluded.beat_at`,
        [`${host}-1-x`, age],
      );
    const ill = [expect.stringContaining('no worker of')];
    await beat('elsewhere', '1 s');
    expect(await workerProblems(test.database, hostname())).toEqual(ill);
    await beat(hostname(), '11 s');
    expect(await workerProblems(test.database, hostname())).toEqual(ill);
    await beat(hostname(), '1 s');
    expect(await workerProblems(test.database, hostname())).toEqual([]);
  });
});
