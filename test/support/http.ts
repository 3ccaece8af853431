import { createSecretKey, randomBytes, randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import { createJobCommandHandler } from '../../src/commands/handle-command.ts';
import { createRedelivery, createWebhookCommandHandler } from '../../src/commands/webhook-commands.ts';
import type { EventStore } from '../../src/events/event-store.ts';
import { urlProblem } from '../../src/egress/address-policy.ts';
import { createHttpApp } from '../../src/http/app.ts';
import type { HttpAppOptions } from '../../src/http/app.ts';
import { startHttpServer } from '../../src/http/server.ts';
import { createIdentityStore } from '../../src/identity/identity-store.ts';
import { createIdentity } from '../../src/identity/identity.ts';
import { newApiKey, sha256 } from '../../src/identity/tokens.ts';
import { createWebhookSecrets } from '../../src/identity/webhook-secrets.ts';
import { createMemoryJobCache } from '../../src/infrastructure/memory/job-cache.ts';
import { createPostgresEventStore } from '../../src/infrastructure/postgres/event-store.ts';
import { startCacheFollower } from '../../src/queries/cache-follower.ts';
import { createCachedJobs } from '../../src/queries/cached-jobs.ts';
import { createJobHistory } from '../../src/queries/job-history.ts';
import { createJobLogQueries } from '../../src/queries/job-logs.ts';
import { createJobStatsQueries } from '../../src/queries/job-stats.ts';
import { createJobQueries } from '../../src/queries/jobs.ts';
import { createWebhookLogQueries } from '../../src/queries/webhook-logs.ts';
import { createTestDatabase, silentLogger } from './database.ts';
import type { TestDatabase } from './database.ts';
import { httpClient } from './http-client.ts';
import { passwords } from './passwords.ts';

/**
 * The REST API over a database of the test's own, without projector or worker; all of it is gone when the test ends.
 * @param overrides parts to put in the place of the real ones
 * @param createStore the event store to use, over the test's database or beside it; default: the one in Postgres
 */
export async function startApi(
  overrides: Partial<HttpAppOptions> = {},
  createStore: (test: Pick<TestDatabase, 'url' | 'database'>) => EventStore | Promise<EventStore> = ({
    url,
    database,
  }) => createPostgresEventStore({ url, database, logger: silentLogger }),
) {
  const { url, database, ...testDatabase } = await createTestDatabase();
  const store = await createStore({ url, database });
  const identity = createIdentity({
    database,
    accessKey: createSecretKey(randomBytes(32)),
    refreshKey: createSecretKey(randomBytes(32)),
    accessExpiresIn: '15m',
    refreshExpiresIn: '7d',
    passwords,
  });
  // As another process would send them: this one hears of it by the store alone.
  const handleElsewhere = createJobCommandHandler(store);
  const logLines: string[] = [];
  const logger = pino({ level: 'debug' }, { write: (line: string) => logLines.push(line) });
  const cachedJobs = createCachedJobs({
    jobs: createJobQueries({ database, store }),
    cache: createMemoryJobCache(),
    logger: silentLogger,
  });
  const follower = await startCacheFollower({ store, sink: cachedJobs, logger: silentLogger });
  const handleJob = cachedJobs.remembering(handleElsewhere);
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
    checkWebhookUrl: (url) => urlProblem(url, false),
    limitsOf: () => null,
    checkPayload: () => null,
    readiness: () => Promise.resolve({ ready: true, parts: {} }),
    logger,
    trustProxy: 0,
    rateLimits: { jobsPerMinute: 100_000, authPerMinute: 100_000 },
    ...overrides,
  });
  const server = await startHttpServer({ app, host: '127.0.0.1', port: 0, logger, drainMs: 1_000 });
  onTestFinished(async () => {
    await server.stop();
    await follower.stop();
    await store.close();
    await testDatabase.drop();
  });
  const base = `http://127.0.0.1:${server.port}`;
  const call = httpClient(base);

  /** A user with an API key and no password, for tests that are not about logging in: those need a thread for the hash. */
  async function newUser() {
    const [id, token] = [randomUUID(), newApiKey()];
    const user = { id, email: `${id}@example.com`, passwordHash: '', createdAt: new Date() };
    await createIdentityStore(database).addUser(user, sha256(token));
    return { id, token };
  }

  /** Registers a user over HTTP and logs in. */
  async function registerUser() {
    const credentials = { email: `${randomUUID()}@example.com`, password: 'securepassword123' };
    const registered = await call('POST', '/api/auth/register', { body: credentials });
    const login = await call('POST', '/api/auth/login', { body: credentials });
    const account = registered.body.data as { id: string; apiKey: string };
    const tokens = login.body.data as { accessToken: string; refreshToken: string };
    return { ...account, ...credentials, ...tokens };
  }

  return {
    base,
    call,
    newUser,
    registerUser,
    database,
    store,
    handleJob,
    handleElsewhere,
    identity,
    server,
    logLines,
  };
}
