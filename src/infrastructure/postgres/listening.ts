import type pg from 'pg';
import { backoff, isAborted, sleep } from '../../waiting.ts';
import { createConnection } from './connection.ts';
import type { Connection } from './connection.ts';

export interface ListeningOptions {
  readonly url: string;
  /** Shown in `pg_stat_activity`. */
  readonly applicationName: string;
  readonly channel: string;
  /** Ends the listening. */
  readonly signal: AbortSignal;
  /** Listening has begun, or begun again: whatever was sent before has been missed. */
  readonly begun: () => void;
  /** Another process has sent this. */
  readonly heard: (payload: string) => void;
  readonly lost: () => void;
  /** @param failures in a row */
  readonly unavailable: (failures: number, error: unknown) => void;
}

export interface Listening {
  /** The one connection: also for what this process sends, so that it is told apart from what others send. */
  readonly connection: Connection;
  /** Begins to listen, and goes on, on a new connection whenever one breaks. Idempotent. */
  start(): void;
  /** Resolves when the signal has ended it. */
  stopped(): Promise<void>;
}

const RETRY = { first: 100, most: 5_000 };

/** Listens to a channel on a connection of its own. What is sent while the connection is down is lost. */
export function createListening(options: ListeningOptions): Listening {
  const { url, applicationName, channel, signal, begun, heard, lost, unavailable } = options;
  const connection = createConnection({
    url,
    applicationName,
    lockTimeout: 5_000,
    statementTimeout: 5_000,
    queryTimeout: 6_000,
    // Losing a notification is allowed; waiting for the disk for each is not worth it.
    setup: 'SET synchronous_commit = off',
  });
  let listening: Promise<void> | null = null;

  async function stayConnected(): Promise<void> {
    for (let failures = 0; !signal.aborted;) {
      try {
        const client = await connection.get();
        const ended = hear(client);
        await client.query(`LISTEN ${channel}`);
        failures = 0;
        begun();
        await ended;
        if (!isAborted(signal)) lost();
      } catch (error) {
        if (isAborted(signal)) return;
        // Also one that is there and does not listen: the next begins anew.
        connection.discard();
        failures++;
        unavailable(failures, error);
      }
      await sleep(backoff(Math.max(failures, 1), RETRY.first, RETRY.most), signal);
    }
  }

  /** Resolves when the connection ends. */
  function hear(client: pg.Client): Promise<void> {
    const { processID } = client as pg.Client & { readonly processID?: number };
    client.on('notification', ({ processId, payload = '' }) => {
      if (processId !== processID) heard(payload);
    });
    return new Promise((resolve) => {
      client.once('end', resolve);
      client.once('error', () => resolve());
    });
  }

  return {
    connection,
    start() {
      if (!signal.aborted) listening ??= stayConnected();
    },
    stopped: () => listening ?? Promise.resolve(),
  };
}
