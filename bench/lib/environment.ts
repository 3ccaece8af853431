import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import pg from 'pg';
import { openEmbeddedPostgres } from '../../src/infrastructure/embedded/embedded-postgres.ts';
import { freePort } from '../../src/infrastructure/embedded/ports.ts';
import { createLogger } from '../../src/logger.ts';

/** The one Postgres and the one Redis that every subject is measured on. */
export interface Environment {
  /** An empty database. */
  createDatabase(): Promise<BenchDatabase>;
  /** Emptied at each call. */
  freshRedis(): Promise<string>;
  stop(): Promise<void>;
}

export interface BenchDatabase {
  readonly url: string;
  drop(): Promise<void>;
}

const REDIS_UP_MS = 10_000;

/**
 * Starts both with their durability on: Postgres as it comes (fsync, synchronous_commit), Redis with an append-only file.
 * @throws Error redis-server is not on the PATH
 */
export async function startEnvironment(): Promise<Environment> {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'asyncly-bench-'));
  const postgres = await openEmbeddedPostgres({
    dataDir,
    roles: [],
    logger: createLogger('warn', 'stderr'),
    settings: { max_connections: '200' },
  });
  const redis = await startRedis(path.join(dataDir)).catch(async (error: unknown) => {
    await postgres.stop();
    throw error;
  });
  const admin = new pg.Pool({ connectionString: urlOf(postgres.url, 'postgres'), max: 1 });
  return {
    async createDatabase() {
      const name = `bench_${randomUUID().replaceAll('-', '')}`;
      await admin.query(`CREATE DATABASE ${name}`);
      return {
        url: urlOf(postgres.url, name),
        async drop() {
          await admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
          // What one subject has left for later must not be paid by the next.
          await admin.query('CHECKPOINT');
        },
      };
    },
    async freshRedis() {
      await redis.client.flushall();
      return redis.url;
    },
    async stop() {
      await admin.end();
      await redis.stop();
      await postgres.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

function urlOf(base: string, database: string): string {
  const url = new URL(base);
  url.pathname = `/${database}`;
  return url.href;
}

async function startRedis(dir: string): Promise<{ url: string; client: Redis; stop(): Promise<void> }> {
  const port = await freePort();
  const args = { port, bind: '127.0.0.1', dir, save: '', appendonly: 'yes', appendfsync: 'everysec' };
  const server = spawn(
    'redis-server',
    Object.entries(args).flatMap(([name, value]) => [`--${name}`, String(value)]),
    {
      stdio: 'ignore',
    },
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
  ]);
  return {
    url,
    client,
    async stop() {
      client.disconnect();
      process.off('exit', killOnExit);
      const ended = once(server, 'exit');
      server.kill('SIGKILL');
      await ended;
    },
  };
}
