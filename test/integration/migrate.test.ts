import { execFile } from 'node:child_process';
import { appendFile, cp, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterEach, describe, expect, it, onTestFinished } from 'vitest';
import { StartupError } from '../../src/errors.ts';
import { migrate } from '../../src/infrastructure/postgres/migrate.ts';
import { createCuttingProxy } from '../support/cutting-proxy.ts';
import { createTestDatabase, silentLogger } from '../support/database.ts';
import { eventually } from '../support/waiting.ts';

const logger = silentLogger;
const folders: string[] = [];

afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

/** A copy of the project's migrations that a test may change. */
async function copyOfMigrations(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'asyncly-migrations-'));
  folders.push(directory);
  await cp(new URL('../../migrations/', import.meta.url), directory, { recursive: true });
  return directory;
}

describe('migrate', () => {
  it('may be run by 20 processes at once, and again later', async () => {
    await using test = await createTestDatabase({ migrated: false });
    const script = `
      import { migrate } from './src/infrastructure/postgres/migrate.ts';
      import { createLogger } from './src/logger.ts';
      await migrate(process.argv[1], { logger: createLogger('silent') });`;
    const inChild = (): Promise<unknown> =>
      promisify(execFile)(
        process.execPath,
        ['--import', 'tsx', '--input-type=module', '-e', script, test.url],
        {
          cwd: new URL('../../', import.meta.url),
        },
      );
    const here = Array.from({ length: 17 }, () => migrate(test.url, { logger }));
    await Promise.all([...here, inChild(), inChild(), inChild()]);
    await migrate(test.url, { logger });

    const applied = await test.database.query('SELECT number FROM schema_migrations WHERE number = 1');
    expect(applied.rowCount).toBe(1);
    const tables = await test.database.query(
      `SELECT to_regclass('eventstore.events') IS NOT NULL AS events, to_regclass('bullmq.migration') IS NOT NULL AS queue`,
    );
    expect(tables.rows).toEqual([{ events: true, queue: true }]);
  }, 60_000);

  it('gives up on a Postgres that falls silent, naming it', async () => {
    await using test = await createTestDatabase();
    const url = new URL(test.url);
    const proxy = await createCuttingProxy({ host: url.hostname, port: Number(url.port) });
    onTestFinished(() => proxy.close());
    url.port = String(proxy.port);
    // Somebody else holds the lock, so that there is time for it.
    const other = new pg.Client(test.url);
    other.on('error', () => undefined);
    await other.connect();
    onTestFinished(() => other.end());
    await other.query('SELECT pg_advisory_lock(4170236801)');
    const waiting = migrate(url.href, { logger });
    waiting.catch(() => undefined);
    await eventually(async () => {
      const { rows } = await test.database.query(
        `SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_try_advisory_lock%' AND pid <> pg_backend_pid()`,
      );
      return rows.length > 0;
    });
    proxy.swallow();
    await expect(waiting).rejects.toThrow(StartupError);
    await expect(waiting).rejects.toThrow(/Lost Postgres/);
  }, 60_000);

  it('refuses a database that a newer version has migrated', async () => {
    await using test = await createTestDatabase();
    const newer = await copyOfMigrations();
    await writeFile(join(newer, '9999_future.sql'), 'CREATE TABLE future ()');
    await migrate(test.url, { logger, directory: newer });
    const older = migrate(test.url, { logger });
    await expect(older).rejects.toThrow(StartupError);
    await expect(older).rejects.toThrow(/newer version.*9999_future\.sql/);
  });

  it('refuses a database whose applied migration has changed since, and names the file', async () => {
    await using test = await createTestDatabase();
    const changed = await copyOfMigrations();
    await appendFile(join(changed, '0001_event_store.sql'), '-- changed');
    const migrating = migrate(test.url, { logger, directory: changed });
    await expect(migrating).rejects.toThrow(StartupError);
    await expect(migrating).rejects.toThrow('0001_event_store.sql');
  });

  it('leaves nothing of a migration that fails, names it, and goes on once it is mended', async () => {
    await using test = await createTestDatabase();
    const directory = await copyOfMigrations();
    await writeFile(join(directory, '9999_broken.sql'), 'CREATE TABLE half (); SELECT 1 / 0;');
    await expect(migrate(test.url, { logger, directory })).rejects.toThrow(
      /9999_broken\.sql.*division by zero/,
    );
    const half = await test.database.query(`SELECT to_regclass('half') AS half`);
    expect(half.rows).toEqual([{ half: null }]);
    await writeFile(join(directory, '9999_broken.sql'), 'CREATE TABLE half ();');
    await migrate(test.url, { logger, directory });
  });

  it('counts the jobs that a read model without totals has', async () => {
    await using test = await createTestDatabase({ migrated: false });
    const before = await copyOfMigrations();
    for (const name of await readdir(before)) if (name >= '0009') await rm(join(before, name));
    await migrate(test.url, { logger, directory: before });
    await test.database.query(
      `INSERT INTO jobs (id, user_id, type, payload, webhook_events, status, round, attempt, takeovers, cancel_requested,
         created_at, updated_at, revision)
       SELECT gen_random_uuid(), owner, 'x', '{}', '[]', status, 1, 1, 0, false, now(), now(), 0
       FROM (VALUES ('one', 'PENDING', 3), ('one', 'DONE', 2), ('two', 'FAILED', 4), ('two', 'CANCELLED', 1)) AS given (owner, status, n),
         generate_series(1, n)`,
    );
    await test.database.query(
      `INSERT INTO jobs (id, user_id, type, payload, webhook_events, status, round, attempt, execution_id, worker_id, heartbeat,
         takeovers, cancel_requested, created_at, updated_at, revision)
       VALUES (gen_random_uuid(), 'two', 'x', '{}', '[]', 'PROCESSING', 1, 1, gen_random_uuid(), 'w', 1, 0, false, now(), now(), 1)`,
    );
    await migrate(test.url, { logger });
    const { rows } = await test.database.query('SELECT * FROM job_totals ORDER BY user_id');
    expect(rows).toEqual([
      { user_id: 'one', pending: 3n, processing: 0n, done: 2n, failed: 0n, cancelled: 0n },
      { user_id: 'two', pending: 0n, processing: 1n, done: 0n, failed: 4n, cancelled: 1n },
    ]);
  });

  it('says so when Postgres cannot be reached', async () => {
    await expect(migrate('postgres://nobody@127.0.0.1:1/none', { logger })).rejects.toThrow(/Cannot connect/);
  });
});
