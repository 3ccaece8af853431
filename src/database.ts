/**
 * What the rest of the code needs of Postgres: statements and transactions, no driver. `bigint` columns come as
 * `bigint`, `timestamptz` as `Date`, `json` parsed.
 */
export interface Queryable {
  /**
   * Runs one statement with `$n` parameters.
   * @throws UnavailableError when Postgres cannot be reached or cut the statement off, else the driver's error with
   * Postgres's SQLSTATE as `code`
   */
  query<Row extends object = Record<string, unknown>>(
    sql: string,
    values?: readonly unknown[],
  ): Promise<{ readonly rows: Row[]; readonly rowCount: number }>;
}

/** One statement with `$n` parameters. */
export interface Statement {
  readonly sql: string;
  readonly values?: readonly unknown[];
}

export interface Database extends Queryable {
  /** Runs `work` in one transaction: committed when it resolves, rolled back when it throws. */
  transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T>;
  /**
   * One transaction with few ways to Postgres: `first` goes together with the first statement that `work` asks, and what it returns goes
   * together with the commit. Where it asks nothing, all of it goes at once. Rolled back when `work` throws or a statement fails.
   */
  pipeline(first: Statement, work: (tx: Queryable) => Awaitable<readonly Statement[]>): Promise<void>;
}

export type Awaitable<T> = T | Promise<T>;
