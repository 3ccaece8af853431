import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { dumpTables } from './canaries.ts';
import type { Canaries } from './canaries.ts';
import { createTestDatabase } from './database.ts';
import { httpClient } from './http-client.ts';
import type { CallOptions } from './http-client.ts';
import { LiveClient } from './live-client.ts';
import { startRedisServer } from './redis-server.ts';
import { spawnService } from './service-process.ts';
import { addressesOf, testHandlersDir } from './service.ts';
import { eventually } from './waiting.ts';
import { startWebhookReceiver } from './webhook-receiver.ts';

const canary = (name: string): string => `canary-${name}-${randomBytes(16).toString('hex')}`;

/**
 * Runs the whole service with a secret in every place where one goes in: logins, jobs, webhooks, what goes wrong because of clients and
 * because of the database.
 * @returns the secrets, and everything that was said, sent and written
 */
export async function runWithCanaries(redisToo: boolean) {
  const secrets = {
    JWT_ACCESS_SECRET: canary('access'),
    JWT_REFRESH_SECRET: canary('refresh'),
    WEBHOOK_SECRET: canary('webhook'),
  };
  const [databasePassword, redisPassword] = [canary('postgres'), canary('redis')];
  const [password, wrongPassword, payload] = [canary('pass'), canary('wrong'), canary('payload')];
  const created = await createTestDatabase();
  const { database } = created;
  const role = `canary_${randomUUID().replaceAll('-', '')}`;
  await database.query(`CREATE ROLE ${role} SUPERUSER LOGIN PASSWORD '${databasePassword}'`);
  const url = new URL(created.url);
  [url.username, url.password] = [role, databasePassword];
  const redis = redisToo ? await startRedisServer({ settings: { requirepass: redisPassword } }) : null;
  const commands: string[] = [];
  const monitor = redis === null ? null : await new Redis(redis.url).monitor();
  monitor?.on('monitor', (_time: string, args: string[]) => commands.push(args.join(' ')));
  const receiver = await startWebhookReceiver((n) => ({ status: n === 1 ? 500 : 200 }));
  const folder = await mkdtemp(path.join(tmpdir(), 'asyncly-canaries-'));
  const settings = {
    ...secrets,
    ...(redis !== null && { REDIS_URL: redis.url }),
    NODE_ENV: 'production',
    DATABASE_URL: url.href,
    DATA_DIR: path.join(folder, 'data'),
    PORT: '0',
    LOG_LEVEL: 'trace',
    HANDLERS_DIR: testHandlersDir,
    HANDLER_TIME_SCALE: '0',
    JOB_BACKOFF_MS: '10',
    WEBHOOK_BACKOFF_MS: '10',
    WEBHOOK_ALLOW_PRIVATE_NETWORKS: 'true',
  };
  const service = spawnService(settings, folder, { kept: Number.POSITIVE_INFINITY });
  const { base, wsBase } = addressesOf((await service.up())!);
  const request = httpClient(base);
  const answers: string[] = [];
  const call = async (method: string, target: string, options?: CallOptions) => {
    const { status, headers, body } = await request(method, target, options);
    answers.push(`${status} ${JSON.stringify([...headers])} ${JSON.stringify(body)}`);
    return { status, body, data: body.data as Record<string, string> };
  };
  /** For the answers whose purpose is to hold a secret. */
  const given = async (method: string, target: string, options?: CallOptions) => {
    const { data } = await call(method, target, options);
    answers.pop();
    return data;
  };

  const credentials = { email: `${randomUUID()}@example.com`, password };
  const post = (target: string, body: unknown, token?: string) =>
    call('POST', target, { body, ...(token !== undefined && { token }) });
  const { apiKey = '' } = await given('POST', '/api/auth/register', { body: credentials });
  const login = await given('POST', '/api/auth/login', { body: credentials });
  const { accessToken = '', refreshToken = '' } = login;
  const refreshed = await given('POST', '/api/auth/refresh', { body: { refreshToken } });
  const { secret: webhookSecret = '' } = await given('GET', '/api/webhooks/secret', { token: apiKey });

  // What fails because of the client, with a secret in each.
  await post('/api/auth/register', credentials);
  await post('/api/auth/register', { ...credentials, password: password.repeat(3) });
  await post('/api/auth/login', { ...credentials, password: wrongPassword });
  await post('/api/auth/login', `{"password":"${password}","email":`);
  await post('/api/auth/refresh', { refreshToken: accessToken });
  await call('GET', `/api/jobs?token=${accessToken}&apiKey=${apiKey}&password=${password}`);
  await call('GET', '/api/jobs?page=x', { token: apiKey });
  await call('GET', '/api/jobs', { headers: { 'x-request-id': accessToken, 'x-api-key': `${apiKey}x` } });
  await call('GET', '/api/jobs', { token: `${accessToken}x`, headers: { cookie: `token=${accessToken}` } });

  // Work that succeeds and work that fails, told of by webhook, and followed live.
  const live = new LiveClient(`${wsBase}/ws?token=${accessToken}`);
  await live.message('connected');
  live.send({ type: 'subscribe', scope: 'all' });
  await live.message('subscribed');
  const refused = new LiveClient(`${wsBase}/?token=${refreshToken}`);
  await refused.closed;
  const submit = (type: string, more: object = {}) =>
    post('/api/jobs', { type, payload: { payload }, webhookUrl: receiver.url, ...more }, apiKey);
  const { data: done } = await submit('send-email');
  const { data: failed } = await submit('fail', { maxAttempts: 2 });
  await submit('later', { delayMs: 86_400_000 });
  for (const { id } of [done, failed]) {
    await eventually(async () => {
      const { data } = await call('GET', `/api/jobs/${id}/webhook-logs`, { token: accessToken });
      return (data as unknown as { success: boolean }[]).some(({ success }) => success);
    }, 30_000);
  }
  await live.message('job:failed', failed['id']);
  await call('GET', `/api/jobs/${done['id']}`, { token: apiKey });
  await call('GET', `/api/jobs/${failed['id']}/logs`, { token: apiKey });

  // What fails because of the service: rows that do not fit, a database that goes away.
  const { rows } = await database.query<{ hash: string; secret: Buffer }>(
    `SELECT password_hash AS hash, secret FROM users JOIN webhook_secrets ON user_id = id`,
  );
  for (const table of ['users', 'refresh_tokens', 'api_keys', 'webhook_secrets'])
    await database.query(`ALTER TABLE ${table} ADD CONSTRAINT full_up CHECK (false) NOT VALID`);
  const faults = [
    await post('/api/auth/register', { ...credentials, email: `${randomUUID()}@example.com` }),
    await post('/api/auth/login', credentials),
    await call('POST', '/api/webhooks/secret', { token: apiKey }),
  ];
  await database.query(
    'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = $1',
    [role],
  );
  await eventually(async () => (await call('GET', '/readyz')).status === 200, 30_000);
  await post('/api/auth/logout', { refreshToken });
  await live.closed;

  const tables = await dumpTables(database);
  const { output, code } = await service.end('SIGTERM');
  monitor?.disconnect();
  await Promise.all([receiver.close(), redis?.dispose(), rm(folder, { recursive: true, force: true })]);
  await database.query(`REASSIGN OWNED BY ${role} TO CURRENT_USER`);
  await database.query(`DROP ROLE ${role}`);
  await created.drop();

  const [{ hash, secret } = { hash: '', secret: Buffer.alloc(0) }] = rows;
  const known: Canaries = {
    ...secrets,
    databasePassword,
    redisPassword,
    password,
    wrongPassword,
    passwordHash: hash,
    apiKey,
    accessToken,
    refreshToken,
    newAccessToken: refreshed['accessToken'] ?? '',
    webhookSecret,
    webhookKey: secret,
  };
  const { deliveries } = receiver;
  return { known, payload, code, output, answers, faults, commands, tables, deliveries };
}
