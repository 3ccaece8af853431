import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { createJobCommandHandler } from './commands/handle-command.ts';
import type { HandleJobCommand } from './commands/handle-command.ts';
import { hintingCancels } from './commands/cancel-hints.ts';
import { loggingTransitions } from './commands/transition-log.ts';
import { createRedelivery, createWebhookCommandHandler } from './commands/webhook-commands.ts';
import type { Bus } from './bus.ts';
import type { Config } from './config.ts';
import { urlProblem } from './egress/address-policy.ts';
import { createEgressClient } from './egress/egress-client.ts';
import type { EventStore } from './events/event-store.ts';
import { createHttpApp } from './http/app.ts';
import { startLiveServer } from './http/live/live-server.ts';
import { startHttpServer } from './http/server.ts';
import { createIdentity } from './identity/identity.ts';
import { createWebhookSecrets } from './identity/webhook-secrets.ts';
import { createBullmqQueue } from './infrastructure/bullmq/bullmq-queue.ts';
import { createPostgresQueueBackend } from './infrastructure/bullmq/postgres-backend.ts';
import { openEmbeddedPostgres } from './infrastructure/embedded/embedded-postgres.ts';
import { createMemoryJobCache } from './infrastructure/memory/job-cache.ts';
import { createDatabase } from './infrastructure/postgres/database.ts';
import { createNotifyBus } from './infrastructure/postgres/notify-bus.ts';
import type { PostgresDatabase } from './infrastructure/postgres/database.ts';
import { createPostgresEventStore } from './infrastructure/postgres/event-store.ts';
import { migrate } from './infrastructure/postgres/migrate.ts';
import type { Logger } from './logger.ts';
import { startProjector } from './projections/projector.ts';
import { projections } from './projections/registry.ts';
import { startCacheFollower } from './queries/cache-follower.ts';
import { createCachedJobs } from './queries/cached-jobs.ts';
import type { CachedJobQueries } from './queries/cached-jobs.ts';
import { createJobLogQueries } from './queries/job-logs.ts';
import { createJobQueries } from './queries/jobs.ts';
import { createLiveQueries } from './queries/live.ts';
import { createReadiness } from './queries/readiness.ts';
import { createWebhookLogQueries } from './queries/webhook-logs.ts';
import { Releasers } from './releasers.ts';
import { startDispatcher } from './workers/dispatcher.ts';
import type { HandlerRegistry } from './workers/handler.ts';
import { createHandlerRegistry } from './workers/load-handlers.ts';
import { startRunner } from './workers/runner.ts';
import { createWebhookSender, slotLimits } from './workers/webhook-sender.ts';
import type { WebhookSender } from './workers/webhook-sender.ts';

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
  readonly bus: Bus;
  readonly handleJob: HandleJobCommand;
  /** null in a process without the api. */
  readonly jobs: CachedJobQueries | null;
  /** UUID of this process, for leases. */
  readonly holder: string;
}

/**
 * Builds and starts the roles of this process: the one place that knows which adapter is behind which port.
 * @throws StartupError naming the part that cannot start; whatever had started is stopped again
 */
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
  const bus = createNotifyBus({ url, logger });
  releasers.push('bus', () => bus.close());
  const commands = hintingCancels(loggingTransitions(createJobCommandHandler(store), logger), bus);
  const core = { config, logger, releasers, url, database, store, bus, holder: randomUUID() };
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
    allowPrivateNetworks: config.WEBHOOK_ALLOW_PRIVATE_NETWORKS,
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
    const dispatcher = startDispatcher({ ...core, queue, commands: core.handleJob });
    releasers.push('dispatcher', () => dispatcher.stop());
  }
  if (config.ROLES.includes('worker') && handlers !== null) {
    const workerId = `${hostname()}-${process.pid}-${randomUUID()}`;
    const runner = await startRunner({
      ...core,
      queue,
      handlers,
      webhooks: openWebhookSender(core, workerId),
      commands: core.handleJob,
      workerId,
      concurrency: config.WORKER_CONCURRENCY,
      maxAttempts: config.JOB_MAX_ATTEMPTS,
      backoffMs: config.JOB_BACKOFF_MS,
      shutdownGraceMs: config.SHUTDOWN_GRACE_MS,
    });
    releasers.push('worker', () => runner.stop());
  }
}

function openWebhookSender(
  { config, releasers, database, store, logger }: Core,
  workerId: string,
): WebhookSender {
  const egress = createEgressClient({ allowPrivateNetworks: config.WEBHOOK_ALLOW_PRIVATE_NETWORKS });
  releasers.push('egress', () => egress.close());
  return createWebhookSender({
    store,
    webhooks: createWebhookCommandHandler(store),
    egress,
    secrets: createWebhookSecrets(database),
    webhookKey: config.webhookKey,
    backoffMs: config.WEBHOOK_BACKOFF_MS,
    timeoutMs: config.WEBHOOK_TIMEOUT_MS,
    limits: slotLimits(config.WORKER_CONCURRENCY),
    workerId,
    logger,
  });
}

interface ApiCore extends Core {
  readonly jobs: CachedJobQueries;
  readonly handlers: HandlerRegistry;
}

async function startApi(core: ApiCore): Promise<string> {
  const { config, logger, releasers, database, store, bus, handleJob, jobs, handlers } = core;
  const identity = createIdentity({
    database,
    accessKey: config.accessKey,
    refreshKey: config.refreshKey,
    accessExpiresIn: config.JWT_ACCESS_EXPIRES_IN,
    refreshExpiresIn: config.JWT_REFRESH_EXPIRES_IN,
    sessionEnded: (sessionId) => bus.publish('session-ended', { sessionId }),
  });
  releasers.push('identity', () => identity.close());
  const app = createHttpApp({
    identity,
    handleJob,
    jobs,
    jobLogs: createJobLogQueries(database),
    webhookLogs: createWebhookLogQueries(database),
    webhookSecrets: createWebhookSecrets(database),
    requestRedelivery: createRedelivery(store, createWebhookCommandHandler(store)),
    checkWebhookUrl: (url) => urlProblem(url, config.WEBHOOK_ALLOW_PRIVATE_NETWORKS),
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
  const live = startLiveServer({
    server: server.server,
    store,
    bus,
    identity,
    // Not the cached ones: a client resumes from what the stream has.
    jobs: createJobQueries({ database, store }),
    queries: createLiveQueries(database),
    allowedOrigins: config.ALLOWED_ORIGINS,
    logger,
  });
  releasers.push('live connections', () => live.stop());
  const host = ['0.0.0.0', '::'].includes(config.HOST) ? 'localhost' : config.HOST;
  return `http://${host}:${server.port}`;
}
