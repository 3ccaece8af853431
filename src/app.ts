import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { createJobCommandHandler } from './commands/handle-command.ts';
import type { HandleJobCommand } from './commands/handle-command.ts';
import type { Config } from './config.ts';
import type { EventStore } from './events/event-store.ts';
import { createHttpApp } from './http/app.ts';
import { startHttpServer } from './http/server.ts';
import { createIdentity } from './identity/identity.ts';
import { createBullmqQueue } from './infrastructure/bullmq/bullmq-queue.ts';
import { createPostgresQueueBackend } from './infrastructure/bullmq/postgres-backend.ts';
import { openEmbeddedPostgres } from './infrastructure/embedded/embedded-postgres.ts';
import { createDatabase } from './infrastructure/postgres/database.ts';
import type { PostgresDatabase } from './infrastructure/postgres/database.ts';
import { createPostgresEventStore } from './infrastructure/postgres/event-store.ts';
import { migrate } from './infrastructure/postgres/migrate.ts';
import type { Logger } from './logger.ts';
import { createMemoryJobCache } from './infrastructure/memory/job-cache.ts';
import { startProjector } from './projections/projector.ts';
import { projections } from './projections/registry.ts';
import { createJobLogQueries } from './queries/job-logs.ts';
import { createJobQueries } from './queries/jobs.ts';
import { createReadiness } from './queries/readiness.ts';
import { Releasers } from './releasers.ts';
import { startDispatcher } from './workers/dispatcher.ts';
import { startCacheFollower } from './queries/cache-follower.ts';
import { createCachedJobs } from './queries/cached-jobs.ts';
import type { CachedJobQueries } from './queries/cached-jobs.ts';
import type { HandlerRegistry } from './workers/handler.ts';
import { createHandlerRegistry } from './workers/load-handlers.ts';
import { startRunner } from './workers/runner.ts';

export interface App extends AsyncDisposable {
  /** Where the api listens; null in a process without that role. */
  readonly url: string | null;
  /** Stops every part, last started first. Idempotent. */
  stop(): Promise<void>;
}

/** What every role of a process is built from. */
interface Core {
  readonly config: Config;
  readonly logger: Logger;
  readonly releasers: Releasers;
  readonly url: string;
  readonly database: PostgresDatabase;
  readonly store: EventStore;
  readonly handleJob: HandleJobCommand;
  /** UUID of this process, for leases. */
  readonly holder: string;
}

/**
 * Builds and starts the roles of this process: the one place that knows which adapter is behind which port.
 * @throws StartupError naming the part that cannot start; whatever had started is stopped again
 */
  /** null in a process without the api. */
  readonly jobs: CachedJobQueries | null;
export async function startApp(config: Config, logger: Logger): Promise<App> {
  const releasers = new Releasers(logger);
  let released: Promise<void> | undefined;
  const stop = (): Promise<void> => (released ??= releasers.releaseAll());
  try {
    const core = await openCore(config, logger, releasers);
    const { ROLES: roles } = config;
    const handlers = roles.includes('worker') || roles.includes('api') ? await openHandlers(core) : null;
    if (roles.includes('projector')) {
      const projector = startProjector({ ...core, projections });
      releasers.push('projector', () => projector.stop());
    }
    if (roles.includes('dispatcher') || roles.includes('worker')) await startWork(core, handlers);
    const url =
      core.jobs !== null && handlers !== null ? await startApi({ ...core, jobs: core.jobs, handlers }) : null;
    logger.info({ roles, ...(url !== null && { url }) }, `${config.APP_NAME} is up`);
    return { url, stop, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function openCore(config: Config, logger: Logger, releasers: Releasers): Promise<Core> {
  const url = config.DATABASE_URL ?? (await openEmbedded(config, logger, releasers));
  await migrate(url, { logger });
  const database = createDatabase({
    url,
    max: 10,
    applicationName: `asyncly ${config.ROLES.join(',')}`,
    logger,
  });
  releasers.push('postgres connections', () => database.close());
  const store = createPostgresEventStore({ url, database, logger });
  releasers.push('event store', () => store.close());
  const commands = loggingTransitions(createJobCommandHandler(store), logger);
  const core = { config, logger, releasers, url, database, store, holder: randomUUID() };
  if (!config.ROLES.includes('api')) return { ...core, handleJob: commands, jobs: null };
  const cachedJobs = createCachedJobs({
    jobs: createJobQueries({ database, store }),
    cache: createMemoryJobCache(),
    logger,
  });
  const follower = await startCacheFollower({ store, sink: cachedJobs, logger });
  releasers.push('cache follower', () => follower.stop());
  // Also what this process's worker does: the cache is never behind it.
  return { ...core, handleJob: cachedJobs.remembering(commands), jobs: cachedJobs.jobs };
}

async function openEmbedded(config: Config, logger: Logger, releasers: Releasers): Promise<string> {
  const postgres = await openEmbeddedPostgres({ dataDir: config.DATA_DIR, roles: config.ROLES, logger });
  releasers.push('embedded postgres', () => postgres.stop());
  return postgres.url;
}

async function openHandlers({ config, logger, releasers }: Core): Promise<HandlerRegistry> {
  const handlers = await createHandlerRegistry({
    handlersDir: config.HANDLERS_DIR,
    timeScale: config.HANDLER_TIME_SCALE,
    concurrency: config.WORKER_CONCURRENCY,
    env: config.handlerEnv,
    logger,
  });
  releasers.push('handlers', () => handlers.close());
  return handlers;
}

async function startWork(core: Core, handlers: HandlerRegistry | null): Promise<void> {
  const { config, logger, releasers } = core;
  const queue = createBullmqQueue(await createPostgresQueueBackend(core.url, core.database), logger);
  releasers.push('queue', () => queue.close());
  if (config.ROLES.includes('dispatcher')) {
    const dispatcher = startDispatcher({ ...core, queue });
    releasers.push('dispatcher', () => dispatcher.stop());
  }
  if (config.ROLES.includes('worker') && handlers !== null) {
    const runner = await startRunner({
      ...core,
      queue,
      handlers,
      commands: core.handleJob,
      workerId: `${hostname()}-${process.pid}-${randomUUID()}`,
      concurrency: config.WORKER_CONCURRENCY,
      maxAttempts: config.JOB_MAX_ATTEMPTS,
      backoffMs: config.JOB_BACKOFF_MS,
      shutdownGraceMs: config.SHUTDOWN_GRACE_MS,
    });
    releasers.push('worker', () => runner.stop());
  }
}

async function startApi(core: Core, handlers: HandlerRegistry): Promise<string> {
  const { config, logger, releasers, database, store, handleJob } = core;
  const identity = createIdentity({
    database,
    accessKey: config.accessKey,
    refreshKey: config.refreshKey,
    accessExpiresIn: config.JWT_ACCESS_EXPIRES_IN,
    refreshExpiresIn: config.JWT_REFRESH_EXPIRES_IN,
  });
  releasers.push('identity', () => identity.close());
  const app = createHttpApp({
    identity,
    handleJob,
    jobs,
    jobLogs: createJobLogQueries(database),
    checkPayload: (type, payload) => handlers.find(type)?.checkPayload(payload) ?? null,
    readiness: createReadiness({ database, store, projections: projections.map(({ name }) => name) }),
    logger,
    trustProxy: config.TRUST_PROXY,
    rateLimits: {
      jobsPerMinute: config.RATE_LIMIT_JOBS_PER_MINUTE,
      authPerMinute: config.RATE_LIMIT_AUTH_PER_MINUTE,
    },
  });
  const server = await startHttpServer({ app, host: config.HOST, port: config.PORT, logger });
  releasers.push('http server', () => server.stop());
  const host = ['0.0.0.0', '::'].includes(config.HOST) ? 'localhost' : config.HOST;
  return `http://${host}:${server.port}`;
}
