import pg from 'pg';
import { typeParsers } from './types.ts';

export interface ConnectionOptions {
  readonly url: string;
  readonly applicationName: string;
  /** Milliseconds, on the server. */
  readonly lockTimeout: number;
  readonly statementTimeout: number;
  /** Milliseconds after which a statement counts as lost; longer than the server's own limits. */
  readonly queryTimeout: number;
  /** Run once on each new connection. */
  readonly setup: string;
}

export interface Connection {
  /** The open connection, made anew when there is none. @throws the driver's error */
  get(): Promise<pg.Client>;
  /** Cuts the connection, the statement under way included. */
  discard(): void;
  /** Ends the connection for good. */
  close(): Promise<void>;
}

const CONNECT_TIMEOUT = 3_000;

/** One connection outside the pool that is opened when it is needed and forgotten when it breaks. */
export function createConnection(options: ConnectionOptions): Connection {
  let current: Promise<pg.Client> | null = null;
  let closed = false;

  return {
    get() {
      if (closed) return Promise.reject(new Error('The connection is closed'));
      if (current !== null) return current;
      const opening = open(options, () => {
        if (current === opening) current = null;
      });
      return (current = opening);
    },
    discard() {
      const discarded = current;
      current = null;
      // `end` cuts the socket when a statement is under way.
      discarded?.then((client) => client.end()).catch(() => undefined);
    },
    async close() {
      closed = true;
      const last = current;
      current = null;
      await last?.then((client) => client.end()).catch(() => undefined);
    },
  };
}

/** @param lost called when the connection cannot be used any more */
async function open(options: ConnectionOptions, lost: () => void): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: options.url,
    application_name: options.applicationName,
    types: typeParsers,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    connectionTimeoutMillis: CONNECT_TIMEOUT,
    lock_timeout: options.lockTimeout,
    statement_timeout: options.statementTimeout,
    query_timeout: options.queryTimeout,
  });
  client.on('error', lost);
  client.on('end', lost);
  try {
    await client.connect();
    await client.query(options.setup);
    return client;
  } catch (error) {
    lost();
    client.end().catch(() => undefined);
    throw error;
  }
}
