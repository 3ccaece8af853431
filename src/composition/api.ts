import { createRedelivery, createWebhookCommandHandler } from '../commands/webhook-commands.ts';
import { urlProblem } from '../egress/address-policy.ts';
import { createHttpApp } from '../http/app.ts';
import { startLiveServer } from '../http/live/live-server.ts';
import { startHttpServer } from '../http/server.ts';
import { createIdentity } from '../identity/identity.ts';
import { createWebhookSecrets } from '../identity/webhook-secrets.ts';
import { projections } from '../projections/registry.ts';
import { createJobHistory } from '../queries/job-history.ts';
import { createJobLogQueries } from '../queries/job-logs.ts';
import { createJobStatsQueries } from '../queries/job-stats.ts';
import { createJobQueries } from '../queries/jobs.ts';
import { createLiveQueries } from '../queries/live.ts';
import { createReadiness } from '../queries/readiness.ts';
import { createWebhookLogQueries } from '../queries/webhook-logs.ts';
import type { HandlerRegistry } from '../workers/handler.ts';
import type { Core, RequestSide } from './core.ts';

/**
 * The `api` role: REST, probes and live connections on one port.
 * @returns where it listens
 * @throws StartupError the port cannot be had
 */
export async function openApi(core: Core, requests: RequestSide, handlers: HandlerRegistry): Promise<string> {
  const { config, logger, releasers, bus, createLimitStore, pingRedis } = core;
  const { database, store, handleJob, cachedJobs } = requests;
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
    jobs: cachedJobs.jobs,
    jobHistory: createJobHistory(store),
    jobLogs: createJobLogQueries(database),
    jobStats: createJobStatsQueries({ database, store }),
    webhookLogs: createWebhookLogQueries(database),
    webhookSecrets: createWebhookSecrets(database),
    requestRedelivery: createRedelivery(store, createWebhookCommandHandler(store)),
    checkWebhookUrl: (url) => urlProblem(url, config.WEBHOOK_ALLOW_PRIVATE_NETWORKS),
    limitsOf: (type) => handlers.find(type),
    checkPayload: (type, payload) => handlers.find(type)?.checkPayload(payload) ?? null,
    readiness: createReadiness({
      database,
      store,
      projections: projections.map(({ name }) => name),
      pingRedis,
      logger,
    }),
    logger,
    trustProxy: config.TRUST_PROXY,
    rateLimits: {
      jobsPerMinute: config.RATE_LIMIT_JOBS_PER_MINUTE,
      authPerMinute: config.RATE_LIMIT_AUTH_PER_MINUTE,
      ...(createLimitStore !== null && { createStore: createLimitStore }),
    },
  });
  const server = await startHttpServer({ app, host: config.HOST, port: config.PORT, logger });
  releasers.push('http server', () => server.stop());
  const live = startLiveServer({
    server: server.server,
    // A socket has time: what it waits for goes on when the part is back.
    store: core.store,
    bus,
    identity,
    // Not the cached ones: a client resumes from what the stream has.
    jobs: createJobQueries(core),
    queries: createLiveQueries(core.database),
    observe: (events) => cachedJobs.observe(events),
    allowedOrigins: config.ALLOWED_ORIGINS,
    logger,
  });
  releasers.push('live connections', () => live.stop());
  const host = ['0.0.0.0', '::'].includes(config.HOST) ? 'localhost' : config.HOST;
  return `http://${host}:${server.port}`;
}
