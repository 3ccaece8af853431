import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Environment } from '../lib/environment.ts';
import { answers, startProcess } from '../lib/processes.ts';
import type { Process } from '../lib/processes.ts';
import { freePort } from '../../src/infrastructure/embedded/ports.ts';
import { NO_LIMIT } from './subject.ts';
import type { Running, Subject } from './subject.ts';

const MAIN = 'src/main.js';

/** Events in Postgres, everything that passes in Redis; api, projector and dispatcher in one process, the worker in another. */
export const asyncly: Subject = { name: 'asyncly', start: (environment) => startAsyncly(environment) };

/** Everything in the one Postgres. */
export const asynclyEmbedded: Subject = {
  name: 'asyncly (no Redis)',
  start: (environment) => startAsyncly(environment, { withRedis: false }),
};

interface Variant {
  readonly withRedis?: boolean;
  /** Relative to the repository; default: the service itself. */
  readonly main?: string;
  /** Default: all but the worker. */
  readonly roles?: string;
  /** Path that is answered with 200 when it is up. */
  readonly isUp?: string;
}

/** Starts the service, or something that is configured like it. */
export async function startAsyncly(
  environment: Environment,
  { withRedis = true, main = MAIN, roles = 'api,projector,dispatcher', isUp = '/readyz' }: Variant = {},
): Promise<Running> {
  const database = await environment.createDatabase();
  const redisUrl = await environment.freshRedis();
  const dataDir = await mkdtemp(path.join(tmpdir(), 'asyncly-bench-data-'));
  const settings = {
    DATABASE_URL: database.url,
    ...(withRedis && { REDIS_URL: redisUrl }),
    DATA_DIR: dataDir,
    HOST: '127.0.0.1',
    PORT: String(await freePort()),
    HANDLER_TIME_SCALE: '0',
    RATE_LIMIT_JOBS_PER_MINUTE: NO_LIMIT,
    RATE_LIMIT_AUTH_PER_MINUTE: NO_LIMIT,
    JWT_ACCESS_EXPIRES_IN: '1d',
    LOG_LEVEL: 'warn',
  };
  const base = `http://127.0.0.1:${settings.PORT}`;
  const processes: Process[] = [];
  const start = async (
    file: string,
    more: Record<string, string>,
    up?: () => Promise<boolean>,
  ): Promise<Process> => {
    const started = await startProcess(file, { ...settings, ...more }, up);
    processes.push(started);
    return started;
  };
  await start(main, { ROLES: roles }, answers(`${base}${isUp}`));
  let users = 0;
  return {
    base,
    databaseUrl: database.url,
    async createUser() {
      const credentials = { email: `user-${++users}@example.com`, password: 'a password of the bench' };
      await post(`${base}/api/auth/register`, credentials);
      const { data } = await post(`${base}/api/auth/login`, credentials);
      return String(data['accessToken']);
    },
    startWorker: (concurrency) => start(MAIN, { ROLES: 'worker', WORKER_CONCURRENCY: String(concurrency) }),
    processes: () => processes,
    async stop() {
      for (const each of [...processes].reverse()) await each.stop();
      await database.drop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

async function post(url: string, body: object): Promise<{ data: Record<string, unknown> }> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
  return (await response.json()) as { data: Record<string, unknown> };
}
