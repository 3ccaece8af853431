import express from 'express';
import type { Express } from 'express';
import helmet from 'helmet';
import type { Identity } from '../identity/identity.ts';
import type { Logger } from '../logger.ts';
import type { Readiness } from '../queries/readiness.ts';
import { admission } from './admission.ts';
import { requireUser } from './auth.ts';
import { errorHandler, routeNotFound } from './errors.ts';
import { jsonBody } from './json-body.ts';
import { createRateLimits } from './rate-limit.ts';
import type { RateLimitOptions } from './rate-limit.ts';
import { requestContext } from './request-context.ts';
import { boundUnreadAnswers } from './unread-answers.ts';
import { authRoutes } from './routes/auth.ts';
import { healthRoutes } from './routes/health.ts';
import { jobEventRoutes } from './routes/job-events.ts';
import type { JobEventRouteOptions } from './routes/job-events.ts';
import { jobWebhookRoutes } from './routes/job-webhooks.ts';
import type { JobWebhookRouteOptions } from './routes/job-webhooks.ts';
import { jobRoutes } from './routes/jobs.ts';
import type { JobRouteOptions } from './routes/jobs.ts';
import { statsRoutes } from './routes/stats.ts';
import type { StatsRouteOptions } from './routes/stats.ts';
import { webhookRoutes } from './routes/webhooks.ts';
import type { WebhookRouteOptions } from './routes/webhooks.ts';

type RouteOptions = JobRouteOptions &
  JobEventRouteOptions &
  JobWebhookRouteOptions &
  StatsRouteOptions &
  WebhookRouteOptions;

export interface HttpAppOptions extends Omit<RouteOptions, 'requireUser' | 'json' | 'limits'> {
  readonly identity: Identity;
  readonly readiness: () => Promise<Readiness>;
  readonly logger: Logger;
  /** Proxies in front of the service, whose `X-Forwarded-For` is believed. */
  readonly trustProxy: number;
  readonly rateLimits: RateLimitOptions;
  /** Bytes of answers that may wait to be read; see {@link boundUnreadAnswers}. */
  readonly maxUnreadBytes?: number;
  /** Requests that are worked on at a time, probes apart; default 5,000. */
  readonly maxRequests?: number;
  /** Bytes of bodies of all of them; default 64 MiB. */
  readonly maxBodyBytes?: number;
}

const MAX_REQUESTS = 5_000;

/** The REST API under `/api`, and the probes. No other origin may read it: there are no CORS headers. */
export function createHttpApp({
  identity,
  readiness,
  logger,
  trustProxy,
  rateLimits,
  maxUnreadBytes,
  maxRequests = MAX_REQUESTS,
  maxBodyBytes,
  ...routeOptions
}: HttpAppOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  // Our tags are revisions; Express's own would be hashes of the body.
  app.disable('etag');
  app.set('query parser', 'simple');
  app.set('trust proxy', trustProxy);

  app.use(requestContext(logger));
  app.use(boundUnreadAnswers(logger, maxUnreadBytes));
  app.use(helmet());
  // Before admission: an overloaded process is alive, and says so.
  app.use(healthRoutes(readiness));
  app.use(admission(maxRequests));
  const json = jsonBody(maxBodyBytes);
  const limits = createRateLimits(rateLimits);
  app.use('/api/auth', authRoutes({ identity, json, limits }));
  const shared = { ...routeOptions, requireUser: requireUser(identity), json, limits };
  app.use('/api/jobs', jobRoutes(shared), jobEventRoutes(shared), jobWebhookRoutes(shared));
  app.use('/api/stats', statsRoutes(shared));
  app.use('/api/webhooks', webhookRoutes(shared));
  app.use(routeNotFound);
  app.use(errorHandler(logger));
  return app;
}
