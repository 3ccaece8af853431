import pg from 'pg';
import type { Database, Queryable } from '../../database.ts';
import { UnavailableError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { translateError } from './errors.ts';
import { typeParsers } from './types.ts';

export interface DatabaseOptions {
  readonly url: string;
  /** Most connections of the pool. */
  readonly max: number;
  /** Shown in `pg_stat_activity`. */
  readonly applicationName: string;
  readonly logger: Logger;
  /** A statement that takes longer is cut off, in milliseconds. Default: 30,000; null for never. */
  readonly statementTimeout?: number | null;
}

export interface PostgresDatabase extends Database {
  /** For libraries that bring their own statements. */
  readonly pool: pg.Pool;
  /** Waits for statements under way and closes every connection. Idempotent. */
  close(): Promise<void>;
}

/** Milliseconds. The driver's own limit is longer than the server's, so that it only strikes when the server is gone. */
const CONNECT_TIMEOUT = 5_000;
const STATEMENT_TIMEOUT = 30_000;
const BEYOND_STATEMENT = 5_000;

/**
 * A pool of connections to Postgres; none is opened before the first statement.
 * @returns statements throw `UnavailableError` when the connection is lost or cannot be had in 5 s, else the driver's error
 */
export function createDatabase({
  url,
  max,
  applicationName,
  logger,
  statementTimeout = STATEMENT_TIMEOUT,
}: DatabaseOptions): PostgresDatabase {
  const pool = new pg.Pool({
    connectionString: url,
    max,
    application_name: applicationName,
    types: typeParsers,
    keepAlive: true,
    connectionTimeoutMillis: CONNECT_TIMEOUT,
    idleTimeoutMillis: 30_000,
    statement_timeout: statementTimeout ?? 0,
    ...(statementTimeout !== null && { query_timeout: statementTimeout + BEYOND_STATEMENT }),
    idle_in_transaction_session_timeout: STATEMENT_TIMEOUT,
  });
  const report = (error: Error): void => logger.warn({ reason: error.message }, 'Postgres connection lost');
  pool.on('error', report);
  // The pool listens to idle clients alone: an error between two statements of a transaction would end the process.
  pool.on('connect', (client) => client.on('error', () => undefined));
  let closing: Promise<void> | null = null;
  return {
    pool,
    query: queryOn(pool),
    async transaction(work) {
      const client = await pool.connect().catch((error: unknown) => {
        throw translateError(error);
      });
      return runTransaction(client, work);
    },
    close: () => (closing ??= pool.end()),
  };
}

function queryOn(client: pg.Pool | pg.PoolClient): Queryable['query'] {
  return async <Row extends object>(sql: string, values: readonly unknown[] = []) => {
    try {
      const { rows, rowCount } = await client.query<Row>(sql, [...values]);
      return { rows, rowCount: rowCount ?? 0 };
    } catch (error) {
      throw translateError(error);
    }
  };
}

async function runTransaction<T>(client: pg.PoolClient, work: (tx: Queryable) => Promise<T>): Promise<T> {
  let broken = false;
  try {
    await client.query('BEGIN');
    const result = await work({ query: queryOn(client) });
    const { command } = await client.query('COMMIT');
    // Postgres answers the COMMIT of a failed transaction with a rollback and no error.
    if (command !== 'COMMIT')
      throw new Error('The transaction was rolled back: a statement in it had failed');
    return result;
  } catch (error) {
    const translated = translateError(error);
    // A statement that got no answer may still be running: its connection can't be used again, for a rollback neither.
    broken = translated instanceof UnavailableError;
    if (!broken) await client.query('ROLLBACK').catch(() => (broken = true));
    throw translated;
  } finally {
    client.release(broken);
  }
}
