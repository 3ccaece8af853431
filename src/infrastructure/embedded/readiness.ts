import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';

import { StartupError } from '../../errors.ts';
import { superuser } from './cluster.ts';
import type { OutputTail } from './output-tail.ts';
import { errorCode } from './private-files.ts';

const database = 'asyncly';
/** Recovery after a crash can take a while on a slow disk. */
const readyTimeoutMs = 60_000;

/** The URL of the service's database on the embedded server. */
export function embeddedUrl(port: number, password: string, name = database): string {
  return `postgres://${superuser}:${encodeURIComponent(password)}@127.0.0.1:${port}/${name}`;
}

/**
 * Waits until the server answers, and makes the database when it is missing.
 * @param output of the server, for the error @param signal gives up early
 * @throws StartupError
 */
export async function becomeReady(url: string, output: OutputTail, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + readyTimeoutMs;
  for (;;) {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
    client.on('error', () => undefined);
    try {
      await client.connect();
      const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [database]);
      if (rowCount === 0) await client.query(`CREATE DATABASE ${database}`);
      return;
    } catch (error) {
      if (errorCode(error) === '28P01') {
        throw new StartupError(
          "The password in DATA_DIR's cluster.json is not the one of its database: restore both from the same backup.",
          {},
          { cause: error },
        );
      }
      if (signal.aborted || Date.now() > deadline) {
        throw output.failure(`The embedded Postgres server was not ready after ${readyTimeoutMs / 1000} s`);
      }
      await delay(20);
    } finally {
      await client.end().catch(() => undefined);
    }
  }
}
