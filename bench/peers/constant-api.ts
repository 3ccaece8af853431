import express from 'express';
import helmet from 'helmet';
import { openAdapters } from '../../src/composition/adapters.ts';
import { loadConfig } from '../../src/config.ts';
import { requireUser } from '../../src/http/auth.ts';
import { jsonBody } from '../../src/http/json-body.ts';
import { createRateLimits } from '../../src/http/rate-limit.ts';
import { requestContext } from '../../src/http/request-context.ts';
import { sendSuccess } from '../../src/http/responses.ts';
import { authRoutes } from '../../src/http/routes/auth.ts';
import { startHttpServer } from '../../src/http/server.ts';
import { createIdentity } from '../../src/identity/identity.ts';
import { createLogger } from '../../src/logger.ts';
import { Releasers } from '../../src/releasers.ts';

/** An endpoint behind the service's own authentication that answers every job with the same one. */
const config = loadConfig();
const logger = createLogger(config.LOG_LEVEL);
const releasers = new Releasers(logger);
const { database } = await openAdapters(config, logger, releasers);
const identity = createIdentity({
  database,
  accessKey: config.accessKey,
  refreshKey: config.refreshKey,
  accessExpiresIn: config.JWT_ACCESS_EXPIRES_IN,
  refreshExpiresIn: config.JWT_REFRESH_EXPIRES_IN,
  sessionEnded: () => undefined,
});
releasers.push('identity', () => identity.close());

const job = {
  id: '019ab000-0000-7000-8000-000000000000',
  userId: '019ab000-0000-7000-8000-000000000001',
  type: 'bench',
  status: 'DONE',
  payload: { to: 'recipient@example.com', subject: 'Welcome' },
  result: { processed: true, timestamp: '2026-01-01T00:00:00.000Z' },
  error: null,
  webhookUrl: null,
  createdAt: '2026-01-01T00:00:00.000Z',
  updatedAt: '2026-01-01T00:00:00.000Z',
};

const app = express();
app.disable('x-powered-by');
app.disable('etag');
app.use(requestContext(logger));
app.use(helmet());
app.get('/readyz', (_req, res) => sendSuccess(res, 'ready'));
const limits = createRateLimits({
  jobsPerMinute: config.RATE_LIMIT_JOBS_PER_MINUTE,
  authPerMinute: config.RATE_LIMIT_AUTH_PER_MINUTE,
});
app.use('/api/auth', authRoutes({ identity, json: jsonBody(), limits }));
app.get('/api/jobs/:id', requireUser(identity), (_req, res) => {
  sendSuccess(res, 'Job retrieved successfully', job);
});
const server = await startHttpServer({ app, host: config.HOST, port: config.PORT, logger });
releasers.push('http server', () => server.stop());
process.once('SIGTERM', () => void releasers.releaseAll());
