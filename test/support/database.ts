import { createHash, randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import pg from 'pg';
import { pino } from 'pino';
import { inject } from 'vitest';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import type { PostgresDatabase } from '../../src/infrastructure/postgres/database.ts';
import { migrate } from '../../src/infrastructure/postgres/migrate.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Connection string of a superuser on database `postgres`, where each test makes its own database. */
    postgresUrl: string;
  }
}

export interface TestDatabase {
  readonly url: string;
  readonly database: PostgresDatabase;
  /** Closes `database` and removes the database with whatever still uses it. Idempotent. */
  drop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export const silentLogger = pino({ level: 'silent' });

/**
 * A database of the test's own.
 * @param options `migrated: false` gives an empty one; default is this build's schema
 */
export async function createTestDatabase(options: { migrated?: boolean } = {}): Promise<TestDatabase> {
  const template = options.migrated === false ? 'template0' : await migratedTemplate();
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  await onServer((client) => client.query(`CREATE DATABASE ${name} TEMPLATE ${template} ENCODING 'UTF8'`));
  const url = urlOf(name);
  const database = createDatabase({ url, max: 8, applicationName: 'test', logger: silentLogger });
  let dropping: Promise<void> | null = null;
  const drop = (): Promise<void> =>
    (dropping ??= (async () => {
      await database.close();
      await onServer((client) => client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`));
    })());
  return { url, database, drop, [Symbol.asyncDispose]: drop };
}

const MIGRATIONS = new URL('../../migrations/', import.meta.url);
let template: Promise<string> | null = null;

/** Migrating takes a second, copying a migrated database a few milliseconds: one is made for all test processes. */
function migratedTemplate(): Promise<string> {
  return (template ??= onServer(async (client) => {
    const hash = createHash('sha256');
    for (const file of readdirSync(MIGRATIONS).sort())
      hash.update(file).update(readFileSync(new URL(file, MIGRATIONS)));
    const name = `template_${hash.digest('hex').slice(0, 16)}`;
    await client.query('SELECT pg_advisory_lock(1)');
    const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [name]);
    if (rowCount === 0) {
      const building = `${name}_building`;
      await client.query(`DROP DATABASE IF EXISTS ${building} WITH (FORCE)`);
      await client.query(`CREATE DATABASE ${building} TEMPLATE template0 ENCODING 'UTF8'`);
      await migrate(urlOf(building), { logger: silentLogger });
      await client.query(`ALTER DATABASE ${building} RENAME TO ${name}`);
    }
    return name;
  }));
}

function urlOf(name: string): string {
  const url = new URL(inject('postgresUrl'));
  url.pathname = `/${name}`;
  return url.href;
}

async function onServer<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: inject('postgresUrl') });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
