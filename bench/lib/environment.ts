import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { openEmbeddedPostgres } from '../../src/infrastructure/embedded/embedded-postgres.ts';
import { createLogger } from '../../src/logger.ts';
import { familySeconds, parentOf, usageOf } from './proc.ts';
import { startRedis } from './redis-server.ts';

/** The one Postgres and the one Redis that every subject is measured on. */
export interface Environment {
  readonly versions: { readonly postgres: string; readonly redis: string };
  /** An empty database, or a copy of one that nobody is connected to. */
  createDatabase(original?: BenchDatabase): Promise<BenchDatabase>;
  /** Emptied at each call. */
  freshRedis(): Promise<string>;
  /** An empty directory, gone with the environment. */
  createDirectory(): Promise<string>;
  /** CPU seconds that both have used up to now, all of their processes together. */
  serverSeconds(): number;
  /** The same, each for itself. */
  secondsOfServers(): { readonly postgres: number; readonly redis: number };
  /** Resident memory of Redis, in megabytes. */
  redisMb(): number;
  /** Idempotent. */
  stop(): Promise<void>;
}

export interface BenchDatabase {
  readonly url: string;
  drop(): Promise<void>;
}

/**
 * Starts both with their durability on: Postgres as it comes (fsync, synchronous_commit), Redis with an append-only file.
 * @throws Error redis-server is not on the PATH
 */
export async function startEnvironment(): Promise<Environment> {
  const directory = await mkdtemp(path.join(tmpdir(), 'asyncly-bench-'));
  const releases: (() => Promise<unknown>)[] = [() => rm(directory, { recursive: true, force: true })];
  const release = async (): Promise<void> => {
    for (const each of [...releases].reverse()) await each();
  };
  try {
    const redis = await startRedis(directory);
    releases.push(() => redis.stop());
    const postgres = await openEmbeddedPostgres({
      dataDir: path.join(directory, 'postgres'),
      roles: [],
      logger: createLogger('warn', 'stderr'),
      settings: { max_connections: '200' },
    });
    releases.push(() => postgres.stop());
    const admin = new pg.Pool({ connectionString: urlOf(postgres.url, 'postgres'), max: 1 });
    admin.on('error', () => undefined);
    releases.push(() => admin.end());
    const { rows } = await admin.query<{ version: string; pid: number }>(
      `SELECT current_setting('server_version') AS version, pg_backend_pid() AS pid`,
    );
    const { version, pid } = rows[0]!;
    const postmaster = parentOf(pid);
    let stopping: Promise<void> | null = null;
    const secondsOfServers = () => ({
      postgres: familySeconds(postmaster),
      redis: familySeconds(redis.pid),
    });
    return {
      versions: { postgres: version, redis: redis.version },
      async createDatabase(original) {
        const name = `bench_${randomUUID().replaceAll('-', '')}`;
        const template =
          original === undefined
            ? ''
            : `TEMPLATE ${new URL(original.url).pathname.slice(1)} STRATEGY file_copy`;
        await admin.query(`CREATE DATABASE ${name} ${template}`);
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
        await redis.empty();
        return redis.url;
      },
      async createDirectory() {
        const created = path.join(directory, randomUUID());
        await mkdir(created);
        return created;
      },
      serverSeconds: () => Object.values(secondsOfServers()).reduce((sum, each) => sum + each),
      secondsOfServers,
      redisMb: () => usageOf(redis.pid).residentMb,
      stop: () => (stopping ??= release()),
    };
  } catch (error) {
    await release();
    throw error;
  }
}

function urlOf(base: string, database: string): string {
  const url = new URL(base);
  url.pathname = `/${database}`;
  return url.href;
}
