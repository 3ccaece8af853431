import type { Awaitable, Queryable, Statement } from '../../database.ts';

interface Answer<Row extends object> {
  readonly rows: Row[];
  readonly rowCount: number;
  /** What Postgres has done, such as `COMMIT`. */
  readonly command: string;
}

/** A connection for one transaction. */
export interface TransactionConnection extends Queryable {
  /** It can't be used again, such as after a statement that got no answer and may still be running. Postgres rolls back what was begun on it. */
  broken: boolean;
  query<Row extends object>(sql: string, values?: readonly unknown[]): Promise<Answer<Row>>;
  /** One way to Postgres for all of them, and one transaction if none has begun. When it throws the connection is broken. */
  queryTogether(statements: readonly Statement[]): Promise<readonly Answer<object>[]>;
}

/** See `Database.transaction`. */
export async function runTransaction<T>(
  connection: TransactionConnection,
  work: (tx: Queryable) => Promise<T>,
): Promise<T> {
  try {
    await connection.query('BEGIN');
    const result = await work(connection);
    assertCommitted(await connection.query('COMMIT'));
    return result;
  } catch (error) {
    await rollBack(connection);
    throw error;
  }
}

/** See `Database.pipeline`. */
export async function runPipeline(
  connection: TransactionConnection,
  first: Statement,
  work: (tx: Queryable) => Awaitable<readonly Statement[]>,
): Promise<void> {
  const tx = new PipelinedTransaction(connection, first);
  try {
    const last = await work(tx);
    // What was read first has failed, with BEGIN or after it, and was swallowed.
    if (connection.broken) throw rolledBack();
    if (tx.begun) assertCommitted((await connection.queryTogether([...last, { sql: 'COMMIT' }])).at(-1));
    else await connection.queryTogether([first, ...last]);
  } catch (error) {
    if (tx.begun) await rollBack(connection);
    throw error;
  }
}

/** What a pipeline reads with: the transaction begins with the first statement. */
class PipelinedTransaction implements Queryable {
  /** Whether BEGIN has been sent. */
  begun = false;
  readonly #connection: TransactionConnection;
  readonly #first: Statement;

  constructor(connection: TransactionConnection, first: Statement) {
    this.#connection = connection;
    this.#first = first;
  }

  async query<Row extends object>(sql: string, values: readonly unknown[] = []) {
    if (this.begun) return this.#connection.query<Row>(sql, values);
    this.begun = true;
    const answers = await this.#connection.queryTogether([{ sql: 'BEGIN' }, this.#first, { sql, values }]);
    return answers[2] as Answer<Row>;
  }
}

/** Postgres answers the COMMIT of a failed transaction with a rollback and no error. */
function assertCommitted(answer: Answer<object> | undefined): void {
  if (answer?.command !== 'COMMIT') throw rolledBack();
}

function rolledBack(): Error {
  return new Error('The transaction was rolled back: a statement in it had failed');
}

async function rollBack(connection: TransactionConnection): Promise<void> {
  // For a rollback a broken connection can't be used either.
  if (!connection.broken) await connection.query('ROLLBACK').catch(() => (connection.broken = true));
}
