import pg from 'pg';
import type { Statement } from '../../database.ts';
import { typeParsers } from './types.ts';

/** A statement, under the name that a connection shall keep its plan by. */
export interface NamedStatement extends Statement {
  readonly name?: string;
}

/** The driver's connection, as far as those need it who bring a query of their own, such as `pg-cursor`. */
interface Connection {
  readonly stream: { cork(): void; uncork(): void; destroy(error: Error): void };
  /** Texts of the statements that it has planned, by their names. */
  readonly parsedStatements: Record<string, string>;
  sync(): void;
}

/** The driver's query: it says what it wants to a connection, and is told of each answer. */
interface DriverQuery {
  readonly name?: string;
  readonly text: string;
  submit(connection: Connection): Error | null;
  handleRowDescription(message: unknown): void;
  handleDataRow(message: unknown): void;
  handleCommandComplete(message: unknown, connection: Connection): void;
  handleReadyForQuery(connection: Connection): void;
}
const QueryOf = pg.Query as unknown as new (
  config: pg.QueryConfig & { queryMode: 'extended' },
  callback: (error: Error | null, result: pg.QueryResult) => void,
) => DriverQuery;

/**
 * Queries that go to Postgres together and are answered together, with one Sync behind all of them.
 * It takes the place of a query at the driver, which calls its methods.
 */
class Pipeline {
  /** The driver puts its own in its place, for its timeout. */
  callback: (error: Error | null, results: readonly pg.QueryResult[]) => void;
  readonly #queries: readonly DriverQuery[];
  readonly #results: pg.QueryResult[] = [];
  #failed: Error | null = null;
  #answered = 0;

  constructor(statements: readonly NamedStatement[], callback: Pipeline['callback']) {
    this.callback = callback;
    this.#queries = statements.map(
      ({ sql, values = [], name }) =>
        new QueryOf(
          {
            text: sql,
            values: [...values],
            types: typeParsers,
            queryMode: 'extended',
            ...(name && { name }),
          },
          (error, result) => {
            this.#failed ??= error;
            this.#results.push(result);
          },
        ),
    );
  }

  submit(connection: Connection): null {
    connection.stream.cork();
    // A query ends with a Sync of the connection it is given. The driver's minor versions are pinned for this.
    const withoutSync = Object.create(connection, { sync: { value: () => undefined } }) as Connection;
    for (const query of this.#queries) {
      const refused = query.submit(withoutSync);
      this.#failed ??= refused;
    }
    // A value that cannot be sent: nothing has been, and shall not be.
    if (this.#failed) connection.stream.destroy(this.#failed);
    connection.sync();
    connection.stream.uncork();
    return null;
  }

  handleRowDescription(message: unknown): void {
    this.#queries[this.#answered]?.handleRowDescription(message);
  }

  handleDataRow(message: unknown): void {
    this.#queries[this.#answered]?.handleDataRow(message);
  }

  handleCommandComplete(message: unknown, connection: Connection): void {
    const query = this.#queries[this.#answered++];
    if (query?.name) connection.parsedStatements[query.name] = query.text;
    query?.handleCommandComplete(message, connection);
  }

  handleEmptyQuery(): void {
    this.#failed ??= new Error('A statement without a text');
    this.#answered++;
  }

  handleError(error: Error): void {
    this.callback(error, []);
  }

  handleReadyForQuery(connection: Connection): void {
    for (const query of this.#queries) query.handleReadyForQuery(connection);
    this.callback(this.#failed, this.#results);
  }
}

/**
 * Sends statements in one go. Where the connection is in no transaction they are one, though there is no BEGIN; each is parsed when
 * those before it have run, and after one that fails no other is looked at.
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING
 *
 * When it throws the connection must not be used again: which statements it has planned is not known then.
 * @returns a result for each
 * @throws the driver's error of the first that failed
 */
export function sendTogether(
  client: pg.ClientBase,
  statements: readonly NamedStatement[],
): Promise<readonly pg.QueryResult[]> {
  return new Promise((resolve, reject) => {
    const callback: Pipeline['callback'] = (error, results) => (error ? reject(error) : resolve(results));
    client.query(new Pipeline(statements, callback) as unknown as pg.Submittable);
  });
}
