import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { freePort } from '../../src/infrastructure/embedded/ports.ts';

export interface RedisServer {
  readonly url: string;
  readonly pid: number;
  readonly version: string;
  empty(): Promise<void>;
  stop(): Promise<void>;
}

const REDIS_UP_MS = 10_000;

/**
 * Starts one with an append-only file that reaches the disk every second, as most that hold queues are run.
 * @param dir for its files
 * @throws Error redis-server is not on the PATH
 */
export async function startRedis(dir: string): Promise<RedisServer> {
  const port = await freePort();
  const args = { port, bind: '127.0.0.1', dir, save: '', appendonly: 'yes', appendfsync: 'everysec' };
  const server = spawn(
    'redis-server',
    Object.entries(args).flatMap(([name, value]) => [`--${name}`, String(value)]),
    { stdio: 'ignore' },
  );
  const killOnExit = (): void => void server.kill('SIGKILL');
  process.once('exit', killOnExit);
  const failed = once(server, 'error').then(([error]) => {
    throw new Error(`redis-server cannot be started: ${(error as Error).message}`);
  });
  failed.catch(() => undefined);
  const url = `redis://127.0.0.1:${port}`;
  const client = new Redis(url, { retryStrategy: () => 50 });
  client.on('error', () => undefined);
  await Promise.race([
    client.ping(),
    failed,
    delay(REDIS_UP_MS, undefined, { ref: false }).then(() => {
      throw new Error('redis-server does not answer');
    }),
  ]).catch((error: unknown) => {
    client.disconnect();
    server.kill('SIGKILL');
    throw error;
  });
  return {
    url,
    pid: server.pid!,
    version: /redis_version:(\S+)/.exec(await client.info('server'))?.[1] ?? 'unknown',
    async empty() {
      await client.flushall();
    },
    async stop() {
      client.disconnect();
      process.off('exit', killOnExit);
      if (server.exitCode !== null || server.signalCode !== null) return;
      const ended = once(server, 'exit');
      server.kill('SIGKILL');
      await ended;
    },
  };
}
