import type { BenchDatabase, Environment } from '../lib/environment.ts';
import { answers, startProcess } from '../lib/processes.ts';
import type { Process } from '../lib/processes.ts';
import { freePort } from '../../src/infrastructure/embedded/ports.ts';
import { NO_LIMIT } from './subject.ts';
import type { Running, Subject, User } from './subject.ts';

const MAIN = 'src/main.js';

/** Events in Postgres, everything that passes in Redis. As many processes as the baseline has: one answers, one works. */
export const asyncly: Subject = { name: 'asyncly', start: (environment) => startAsyncly(environment) };

/** Roles of the processes beside the worker, as docker-compose.yml has them. */
export const BY_ROLE = ['projector', 'dispatcher', 'api'];

/** A process for each role. */
export const asynclyByRole: Subject = {
  name: 'asyncly (a process for each role)',
  start: (environment) => startAsyncly(environment, { processes: BY_ROLE }),
};

/** Everything in the one Postgres. */
export const asynclyEmbedded: Subject = {
  name: 'asyncly (no Redis)',
  start: (environment) => startAsyncly(environment, { withRedis: false }),
};

interface Variant {
  readonly withRedis?: boolean;
  /** Relative to the repository; default: the service itself. */
  readonly main?: string;
  /** Roles of each process; the api's comes last. Default: one for all but the worker. */
  readonly processes?: readonly string[];
  /** Path that is answered with 200 when it is up. */
  readonly isUp?: string;
  /** Taken over; default: an empty one. */
  readonly database?: BenchDatabase;
}

/** Starts the service, or something that is configured like it. */
export async function startAsyncly(environment: Environment, variant: Variant = {}): Promise<Running> {
  const { withRedis = true, main = MAIN, isUp = '/readyz' } = variant;
  const { processes: roles = ['api,projector,dispatcher'] } = variant;
  const database = variant.database ?? (await environment.createDatabase());
  const settings = {
    NODE_ENV: 'production',
    DATABASE_URL: database.url,
    ...(withRedis && { REDIS_URL: await environment.freshRedis() }),
    DATA_DIR: await environment.createDirectory(),
    HOST: '127.0.0.1',
    PORT: String(await freePort()),
    HANDLER_TIME_SCALE: '0',
    RATE_LIMIT_JOBS_PER_MINUTE: NO_LIMIT,
    RATE_LIMIT_AUTH_PER_MINUTE: NO_LIMIT,
    JWT_ACCESS_SECRET: 'access secret of the bench, 32 bytes and more',
    JWT_REFRESH_SECRET: 'refresh secret of the bench, 32 bytes and more',
    WEBHOOK_SECRET: 'webhook secret of the bench, 32 bytes and more',
    JWT_ACCESS_EXPIRES_IN: '1d',
    LOG_LEVEL: 'warn',
  };
  const base = `http://127.0.0.1:${settings.PORT}`;
  const processes: Process[] = [];
  const start = async (file: string, more: { ROLES: string; WORKER_CONCURRENCY?: string }): Promise<void> => {
    const hasApi = more.ROLES.includes('api');
    const started = await startProcess({
      name: more.ROLES,
      file,
      environment: { ...settings, ...more },
      ...(hasApi && { isUp: answers(`${base}${isUp}`) }),
    });
    processes.push(started);
  };
  async function stop(): Promise<void> {
    for (const each of [...processes].reverse()) await each.stop();
    await database.drop();
  }
  try {
    // The api is ready when the projector has begun.
    for (const each of roles) await start(main, { ROLES: each });
  } catch (error) {
    await stop();
    throw error;
  }
  let users = 0;
  return {
    base,
    databaseUrl: database.url,
    async createUser(): Promise<User> {
      const credentials = { email: `user-${++users}@example.com`, password: 'a password of the bench' };
      const registered = await post(`${base}/api/auth/register`, credentials);
      const { data } = await post(`${base}/api/auth/login`, credentials);
      return { id: String(registered.data['id']), token: String(data['accessToken']) };
    },
    startWorker: (concurrency) => start(MAIN, { ROLES: 'worker', WORKER_CONCURRENCY: String(concurrency) }),
    processes: () => processes,
    stop,
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
