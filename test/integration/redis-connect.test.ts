import { pino } from 'pino';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { StartupError } from '../../src/errors.ts';
import { openRedis } from '../../src/infrastructure/redis/connect.ts';
import { describeWithRedis, startRedisServer } from '../support/redis-server.ts';
import type { RedisServer } from '../support/redis-server.ts';
import { eventually } from '../support/waiting.ts';

const SECRET = 'a secret: @/?#%';

/** A logger that keeps its lines, of every level. */
function listening() {
  const lines: string[] = [];
  const logger = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
  return { logger, lines, says: (part: string) => lines.filter((line) => line.includes(part)).length };
}

async function connect(url: string, waitMs = 2_000) {
  const log = listening();
  const redis = await openRedis({ url, logger: log.logger, waitMs });
  onTestFinished(() => redis.close());
  return { ...log, redis };
}

describeWithRedis('connecting to redis-server', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedisServer({ settings: { requirepass: SECRET } });
  });
  afterAll(() => server.dispose());

  async function startOwn(settings: Record<string, string> = {}) {
    const own = await startRedisServer({ settings });
    onTestFinished(() => own.dispose());
    return own;
  }

  it('uses password and database of the URL', async () => {
    const { redis } = await connect(`${server.url}/3`);
    await redis.shared.set('key', 'value');
    expect(await server.call('EVAL', "redis.call('SELECT', 3) return redis.call('GET', 'key')", '0')).toBe(
      'value',
    );
  });

  it.each([
    ['a wrong password', (url: string) => url.replace('secret', 'guess')],
    ['no password', (url: string) => url.replace(/\/\/.*@/, '//')],
    ['a database that there is not', (url: string) => `${url}/99`],
  ])('refuses to start with %s, naming the variable and no secret', async (_, change) => {
    const { logger, lines } = listening();
    const opening = openRedis({ url: change(server.url), logger });
    await expect(opening).rejects.toBeInstanceOf(StartupError);
    await expect(opening).rejects.toThrow(/^REDIS_URL: /);
    const { message } = (await opening.catch((error: unknown) => error)) as Error;
    for (const text of [message, ...lines]) expect(text).not.toMatch(/secret|guess/);
  });

  it('starts while Redis is away, and tells once that it is and once that it is back', async () => {
    const own = await startOwn();
    await own.stop();
    const { redis, says } = await connect(own.url, 300);
    await expect(redis.shared.get('key')).rejects.toThrow();
    await own.start();
    await eventually(() => says('Redis is back') === 1);
    expect(await redis.shared.get('key')).toBeNull();
    await own.stop();
    await eventually(() => says('Redis does not answer') === 2);
    await own.start();
    await eventually(() => says('Redis is back') === 2);
  });

  it('prints no password, whatever goes wrong', async () => {
    const own = await startOwn({ requirepass: SECRET });
    const { redis, lines, says } = await connect(own.url);
    await own.call('CONFIG', 'SET', 'requirepass', 'another');
    await redis.shared.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'no').catch(() => undefined);
    await eventually(() => says('WRONGPASS') > 0);
    await own.stop();
    await eventually(() => says('ECONNREFUSED') > 0);
    await own.start();
    await eventually(() => says('Redis is back') === 1);
    for (const line of lines) expect(line).not.toContain('a secret');
  });

  it.each([
    ['noeviction', 0],
    ['allkeys-lru', 1],
  ])('with the policy %s, warns so many times that entries may be thrown away: %i', async (policy, times) => {
    const own = await startOwn({ 'maxmemory-policy': policy });
    const { says } = await connect(own.url);
    expect(says('noeviction')).toBe(times);
  });

  it('warns of the policy when Redis comes later, too', async () => {
    const own = await startOwn({ 'maxmemory-policy': 'volatile-lru' });
    await own.stop();
    const { says } = await connect(own.url, 100);
    await own.start();
    await eventually(() => says('noeviction') === 1);
  });

  it('refuses a cluster, whose nodes would each take only some of the keys', async () => {
    const own = await startOwn({ 'cluster-enabled': 'yes' });
    await expect(openRedis({ url: own.url, logger: listening().logger })).rejects.toThrow(
      /REDIS_URL: a Redis Cluster/,
    );
  });

  it('is closed soon, whatever state Redis is in, and any number of times', async () => {
    const own = await startOwn();
    const { redis, says } = await connect(own.url);
    const other = redis.open('another', {});
    await eventually(() => other.status === 'ready');
    own.suspend();
    await Promise.all([redis.close(), redis.close()]);
    await redis.close();
    expect([redis.shared.status, other.status]).toEqual(['end', 'end']);
    expect(says('does not answer')).toBe(0);
  });
});
