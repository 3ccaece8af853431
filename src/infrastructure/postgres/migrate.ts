import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { runMigrations, SchemaVersionMismatchError } from 'bullmq';
import pg from 'pg';
import type { Queryable } from '../../database.ts';
import { errorMessage, StartupError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { isConnectionLoss } from './errors.ts';

/** The Postgres schema that BullMQ's tables live in when the queue is kept in Postgres. */
export const QUEUE_SCHEMA = 'bullmq';

export interface MigrateOptions {
  readonly logger: Logger;
  /** Folder of the numbered files; default: the project's own, found from `src/` and from `dist/`. */
  readonly directory?: string;
}

interface Migration {
  readonly number: number;
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

const DIRECTORY = fileURLToPath(new URL('../../../migrations/', import.meta.url));
/** Key of the advisory lock: only one process migrates a database at a time. */
const LOCK = 4_170_236_801;
/** How long to wait for another process's migration, in milliseconds. */
const LOCK_TIMEOUT = 120_000;
const LOCK_RETRY = 100;
/** Milliseconds until a statement that is not answered means that Postgres is gone; a migration may take a day. */
const QUERY_TIMEOUT = 10_000;
const MIGRATION_TIMEOUT = 24 * 3_600_000;
const LEDGER = 'schema_migrations';

/**
 * Brings a database to this build's schema, the queue's tables included. Each file is one transaction. Any number of
 * processes may call it at once.
 * @param database URL, or a connected client that nobody else uses meanwhile
 * @throws StartupError the database is newer than this build, an applied file has changed, a file fails, or Postgres
 * cannot be reached
 */
export async function migrate(database: string | pg.Client, options: MigrateOptions): Promise<void> {
  const migrations = await loadMigrations(options.directory ?? DIRECTORY);
  if (typeof database !== 'string') return migrateClient(database, migrations, options.logger);
  const client = new pg.Client({
    connectionString: database,
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
    query_timeout: QUERY_TIMEOUT,
  });
  // A lost connection also fails the statement under way; without a listener it would end the process.
  client.on('error', () => undefined);
  try {
    await client.connect().catch((error: unknown) => {
      throw new StartupError(`Cannot connect to Postgres: ${errorMessage(error)}`, {}, { cause: error });
    });
    await migrateClient(client, migrations, options.logger).catch((error: unknown) => {
      if (!isConnectionLoss(error)) throw error;
      throw new StartupError(
        `Lost Postgres while its schema was looked at: ${errorMessage(error)}`,
        {},
        { cause: error },
      );
    });
  } finally {
    await client.end().catch(() => undefined);
  }
}

/**
 * Looks whether a database has exactly this build's schema, and changes nothing.
 * @throws StartupError it is newer, or older: `asyncly migrate` brings it up to date
 */
export async function assertMigrated(database: Queryable): Promise<void> {
  const migrations = await loadMigrations(DIRECTORY);
  const { rows } = await database.query<{ there: boolean }>(
    `SELECT to_regclass('${LEDGER}') IS NOT NULL AS there`,
  );
  const applied = rows[0]?.there ? (await database.query<Applied>(APPLIED)).rows : [];
  const [first] = pending(migrations, applied);
  if (first) {
    throw new StartupError(
      `The database does not have the schema of this build (${first.name} is missing): start the service of this build, or run 'asyncly migrate'`,
      { name: first.name },
    );
  }
}

async function migrateClient(
  client: pg.Client,
  migrations: readonly Migration[],
  logger: Logger,
): Promise<void> {
  await lock(client);
  try {
    await client.query(`CREATE TABLE IF NOT EXISTS ${LEDGER} (
      number integer PRIMARY KEY,
      name text NOT NULL,
      checksum text NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT now()
    )`);
    const { rows: applied } = await client.query<Applied>(APPLIED);
    for (const migration of pending(migrations, applied)) await apply(client, migration, logger);
    await runMigrations(client, QUEUE_SCHEMA);
  } catch (error) {
    if (!(error instanceof SchemaVersionMismatchError)) throw error;
    throw new StartupError(
      `The queue's tables come from a newer version: ${error.message}`,
      {},
      { cause: error },
    );
  } finally {
    // Fails only with the connection, and the lock ends with that as well.
    await client.query('SELECT pg_advisory_unlock($1)', [LOCK]).catch(() => undefined);
  }
}

/** Asks again and again: a statement that waits for the lock would look like a Postgres that does not answer. */
async function lock(client: pg.Client): Promise<void> {
  const deadline = performance.now() + LOCK_TIMEOUT;
  for (;;) {
    const { rows } = await client.query<{ locked: boolean }>('SELECT pg_try_advisory_lock($1) AS locked', [
      LOCK,
    ]);
    if (rows[0]?.locked) return;
    if (performance.now() > deadline) {
      throw new StartupError(
        `Another process has been migrating this database for more than ${LOCK_TIMEOUT / 1_000} s; see pg_locks for who holds the advisory lock ${LOCK}`,
      );
    }
    await delay(LOCK_RETRY);
  }
}

interface Applied {
  readonly number: number;
  readonly name: string;
  readonly checksum: string;
}

const APPLIED = `SELECT number, name, checksum FROM ${LEDGER} ORDER BY number`;

/** What has not been applied yet, in order. @throws StartupError something else has been */
function pending(known: readonly Migration[], applied: readonly Applied[]): Migration[] {
  const byNumber = new Map(known.map((migration) => [migration.number, migration]));
  const newest = known.at(-1)?.number ?? 0;
  for (const { number, name, checksum } of applied) {
    const migration = byNumber.get(number);
    if (!migration) {
      const why =
        number > newest
          ? 'was migrated by a newer version of Asyncly: upgrade it'
          : 'has a migration this build lacks';
      throw new StartupError(`The database ${why} (${name})`, { name });
    }
    if (migration.checksum !== checksum) {
      throw new StartupError(
        `Migration ${migration.name} has changed since it was applied: restore the file and put the change into a new one`,
        { name: migration.name },
      );
    }
  }
  const numbers = new Set(applied.map(({ number }) => number));
  return known.filter(({ number }) => !numbers.has(number));
}

async function apply(
  client: pg.Client,
  { number, name, sql, checksum }: Migration,
  logger: Logger,
): Promise<void> {
  try {
    await client.query('BEGIN');
    await client.query(unhurried(sql));
    await client.query(`INSERT INTO ${LEDGER} (number, name, checksum) VALUES ($1, $2, $3)`, [
      number,
      name,
      checksum,
    ]);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw new StartupError(`Migration ${name} failed: ${errorMessage(error)}`, { name }, { cause: error });
  }
  logger.info({ migration: name }, 'Migration applied');
}

/** A statement that may take longer than Postgres may be silent otherwise. */
function unhurried(text: string): pg.QueryConfig {
  const config: pg.QueryConfig & { readonly query_timeout: number } = {
    text,
    query_timeout: MIGRATION_TIMEOUT,
  };
  return config;
}

async function loadMigrations(directory: string): Promise<Migration[]> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.sql')).sort();
  const migrations = await Promise.all(
    names.map(async (name) => {
      // A checkout may change the line ends, and that changes nothing of what the file does.
      const sql = (await readFile(`${directory}/${name}`, 'utf8')).replaceAll('\r\n', '\n');
      const checksum = createHash('sha256').update(sql).digest('hex');
      return { number: Number.parseInt(name, 10), name, sql, checksum };
    }),
  );
  const wrong = migrations.find(({ number }, i) => !(number > 0) || migrations[i + 1]?.number === number);
  if (wrong) throw new StartupError(`${wrong.name}: a migration's name begins with a number of its own`);
  return migrations;
}
