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

export interface Database extends Queryable {
  /** Runs `work` in one transaction: committed when it resolves, rolled back when it throws. */
  transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T>;
}
