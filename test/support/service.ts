import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { startApp } from '../../src/app.ts';
import { loadConfig } from '../../src/config.ts';
import { createTestDatabase, silentLogger } from './database.ts';

/** A running service, whatever it is made of. */
export interface Service {
  /** Of the HTTP server, without `/api`, e.g. `http://127.0.0.1:3000`. */
  readonly base: string;
  /** The same for WebSocket: `ws://127.0.0.1:3000`. */
  readonly wsBase: string;
  /** Its own Postgres, for tests that look behind the contract; null when that is out of reach. */
  readonly databaseUrl: string | null;
  /** Ends it and removes its data. Idempotent. */
  stop(): Promise<void>;
}

/** One that was started here. */
export interface StartedService extends Service {
  readonly databaseUrl: string;
}

/** Environment variables of the service, by their documented names. */
export type ServiceSettings = Readonly<Record<string, string>>;

export const testSecrets = {
  JWT_ACCESS_SECRET: 'access secret of the tests, 32 bytes and more',
  JWT_REFRESH_SECRET: 'refresh secret of the tests, 32 bytes and more',
  WEBHOOK_SECRET: 'webhook secret of the tests, 32 bytes and more',
} as const;

/** Job types of the tests: `hold` runs as long as a file exists, `fail` always fails. */
export const testHandlersDir = fileURLToPath(new URL('../fixtures/handlers', import.meta.url));

/** Quick jobs and retries, and room for the many accounts that tests make from one address. */
export const testSettings: ServiceSettings = {
  ...testSecrets,
  NODE_ENV: 'test',
  HOST: '127.0.0.1',
  PORT: '0',
  HANDLER_TIME_SCALE: '0.02',
  HANDLERS_DIR: testHandlersDir,
  JOB_BACKOFF_MS: '10',
  // A machine that is busy with tests is no outage.
  REQUEST_PATIENCE_MS: '10000',
  RATE_LIMIT_AUTH_PER_MINUTE: '100000',
  WEBHOOK_ALLOW_PRIVATE_NETWORKS: 'true',
  WEBHOOK_BACKOFF_MS: '50',
};

/**
 * Starts the whole service in this process, on a database of its own.
 * @param settings variables to set otherwise than `testSettings`; an empty value leaves the service's default
 */
export async function startService(settings: ServiceSettings = {}): Promise<StartedService> {
  const database = await createTestDatabase();
  const dataDir = await mkdtemp(path.join(tmpdir(), 'asyncly-service-'));
  const remove = async (): Promise<void> => {
    await database.drop();
    await rm(dataDir, { recursive: true, force: true });
  };
  try {
    const env = { ...testSettings, DATABASE_URL: database.url, DATA_DIR: dataDir, ...settings };
    // No `.env` file of a developer's is to have a say.
    const app = await startApp(loadConfig(env, path.join(dataDir, '.env')), silentLogger);
    let stopping: Promise<void> | undefined;
    const stop = (): Promise<void> => (stopping ??= app.stop().finally(remove));
    if (app.url === null) throw new Error('A service without the api role has no address');
    return { ...addressesOf(app.url), databaseUrl: env.DATABASE_URL, stop };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** The addresses of a service that runs somewhere already. */
export function addressesOf(url: string): Pick<Service, 'base' | 'wsBase'> {
  const base = url.replace(/\/+$/, '');
  return { base, wsBase: base.replace(/^http/, 'ws') };
}
