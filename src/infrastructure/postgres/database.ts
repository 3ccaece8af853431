import pg from 'pg';
import type { Database, Statement } from '../../database.ts';
import { UnavailableError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { within } from '../../waiting.ts';
import { sqlState, translateError } from './errors.ts';
import { sendTogether } from './pipeline.ts';
import type { NamedStatement } from './pipeline.ts';
import { runPipeline, runTransaction } from './transactions.ts';
import type { TransactionConnection } from './transactions.ts';
import { typeParsers } from './types.ts';

export interface DatabaseOptions {
  readonly url: string;
  /** Most connections of the pool. */
  readonly max: number;
  /** Shown in `pg_stat_activity`. */
  readonly applicationName: string;
  readonly logger: Logger;
  /** A statement that takes longer is cut off, in milliseconds. Default: 10,000; null for never. */
  readonly statementTimeout?: number | null;
  /**
   * Milliseconds within which each statement and each transaction has ended, one way or the other, the wait for a connection
   * included. Default: a connection is waited for 5 s, and each statement may take its own time.
   */
  readonly patience?: number;
  /**
   * Statements with parameters are planned once a connection. For pools whose statements look rows up by key: a plan that is made while
   * a table is small is kept when it has grown, so that none of them may scan a table where there is an index.
   */
  readonly prepare?: boolean;
}

export interface PostgresDatabase extends Database {
  /** For libraries that bring their own statements. */
  readonly pool: pg.Pool;
  /** Waits for statements under way and closes every connection. Idempotent. */
  close(): Promise<void>;
}

/**
 * Milliseconds. The driver's own limit is longer than the server's for a statement, so that it strikes when the server is gone, or takes
 * longer than that for several which were sent together: those may still be committed.
 */
const CONNECT_TIMEOUT = 5_000;
const STATEMENT_TIMEOUT = 10_000;
const BEYOND_STATEMENT = 2_000;
/** Statements that may wait for a connection; what comes on top is turned away at once. */
const MAX_WAITING = 5_000;
const MAX_PREPARED = 200;
/** `feature_not_supported`: "cached plan must not change result type". */
const OUTDATED_PLAN = '0A000';

/**
 * A pool of connections to Postgres; none is opened before the first statement.
 * @returns statements throw `UnavailableError` when the connection is lost or cannot be had in time, else the driver's error
 */
export function createDatabase(options: DatabaseOptions): PostgresDatabase {
  const { url, max, applicationName, logger, patience, prepare = false } = options;
  const { statementTimeout = patience ?? STATEMENT_TIMEOUT } = options;
  const pool = new pg.Pool({
    connectionString: url,
    max,
    application_name: applicationName,
    types: typeParsers,
    keepAlive: true,
    connectionTimeoutMillis: patience ?? CONNECT_TIMEOUT,
    idleTimeoutMillis: 30_000,
    statement_timeout: statementTimeout ?? 0,
    ...(statementTimeout !== null && { query_timeout: statementTimeout + BEYOND_STATEMENT }),
    idle_in_transaction_session_timeout: STATEMENT_TIMEOUT,
    ...(prepare && { options: '-c enable_seqscan=off' }),
  });
  // Once it closes, what is lost is being given up.
  const report = (error: Error): void => {
    if (closing === null) logger.warn({ reason: error.message }, 'Postgres connection lost');
  };
  pool.on('error', report);
  // The pool listens to idle clients alone: an error between two statements of a transaction would end the process.
  pool.on('connect', (client) => client.on('error', () => undefined));
  let closing: Promise<void> | null = null;

  async function lend<T>(use: (connection: Lent) => Promise<T>): Promise<T> {
    const deadline = patience === undefined ? null : performance.now() + patience;
    if (pool.waitingCount >= MAX_WAITING) {
      throw new UnavailableError('postgres', `${MAX_WAITING} statements wait for a connection already`);
    }
    const client = await pool.connect().catch((error: unknown) => {
      throw translateError(error);
    });
    const lent = new Lent(client, { deadline, prepare });
    try {
      return await use(lent);
    } finally {
      client.release(lent.broken);
    }
  }

  return {
    pool,
    query: (sql, values) => lend((connection) => connection.query(sql, values)),
    transaction: (work) => lend((connection) => runTransaction(connection, work)),
    pipeline: (first, work) => lend((connection) => runPipeline(connection, first, work)),
    close: () => (closing ??= pool.end()),
  };
}

/** A connection that was lent for one statement or one transaction. */
class Lent implements TransactionConnection {
  broken = false;
  readonly #client: pg.PoolClient;
  readonly #deadline: number | null;
  readonly #prepare: boolean;

  constructor(client: pg.PoolClient, { deadline, prepare }: { deadline: number | null; prepare: boolean }) {
    this.#client = client;
    this.#deadline = deadline;
    this.#prepare = prepare;
  }

  async query<Row extends object>(sql: string, values: readonly unknown[] = []) {
    const { name } = this.#named({ sql, values });
    return answerOf(
      await this.#inTime(
        this.#client.query<Row>({ ...(name && { name }), text: sql, values: [...values] }),
        name !== undefined,
      ),
    );
  }

  /** See {@link sendTogether}. When it throws the connection is broken. */
  async queryTogether(statements: readonly Statement[]) {
    const named = statements.map((statement) => this.#named(statement));
    try {
      return (await this.#inTime(sendTogether(this.#client, named), true)).map(answerOf);
    } catch (error) {
      this.broken = true;
      throw error;
    }
  }

  #named(statement: Statement): NamedStatement {
    const { sql, values = [] } = statement;
    const name = this.#prepare && values.length > 0 ? statementName(sql) : undefined;
    return name === undefined ? statement : { ...statement, name };
  }

  async #inTime<T>(answer: Promise<T>, isPlanned: boolean): Promise<T> {
    const deadline = this.#deadline;
    try {
      return await (deadline === null ? answer : within(answer, deadline - performance.now(), noAnswer));
    } catch (error) {
      const translated =
        isPlanned && sqlState(error) === OUTDATED_PLAN ? outdatedPlan(error) : translateError(error);
      if (translated instanceof UnavailableError) this.broken = true;
      throw translated;
    }
  }
}

function answerOf<Row extends object>({ rows, rowCount, command }: pg.QueryResult<Row>) {
  return { rows, rowCount: rowCount ?? 0, command };
}

const statementNames = new Map<string, string>();

/** The same for the same text; undefined for texts beyond those that a connection shall keep plans of. */
function statementName(sql: string): string | undefined {
  const known = statementNames.get(sql);
  if (known !== undefined || statementNames.size === MAX_PREPARED) return known;
  const name = `asyncly_${statementNames.size + 1}`;
  statementNames.set(sql, name);
  return name;
}

/** A migration changed what the statement returns: a new connection plans it anew. */
function outdatedPlan(cause: unknown): UnavailableError {
  return new UnavailableError('postgres', 'Postgres has to plan a statement anew', { cause });
}

function noAnswer(): UnavailableError {
  return new UnavailableError('postgres', 'Postgres does not answer in time');
}
