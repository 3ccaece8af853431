import type { Store } from 'express-rate-limit';
import type { Bus } from '../bus.ts';
import type { JobCache } from '../cache.ts';
import type { Config } from '../config.ts';
import type { Database } from '../database.ts';
import type { EventStore } from '../events/event-store.ts';
import { isOwnStream } from '../events/streams.ts';
import { createBullmqQueue } from '../infrastructure/bullmq/bullmq-queue.ts';
import { createPostgresQueueBackend } from '../infrastructure/bullmq/postgres-backend.ts';
import { createRedisQueueBackend } from '../infrastructure/bullmq/redis-backend.ts';
import { openEmbeddedPostgres } from '../infrastructure/embedded/embedded-postgres.ts';
import type { EventStoreDbEventStore } from '../infrastructure/eventstoredb/event-store.ts';
import { createMemoryJobCache } from '../infrastructure/memory/job-cache.ts';
import { createDatabase } from '../infrastructure/postgres/database.ts';
import type { PostgresDatabase } from '../infrastructure/postgres/database.ts';
import { createPostgresEventStore } from '../infrastructure/postgres/event-store.ts';
import { migrate } from '../infrastructure/postgres/migrate.ts';
import { createNotifyBus } from '../infrastructure/postgres/notify-bus.ts';
import { openRedis, soon } from '../infrastructure/redis/connect.ts';
import type { RedisConnections } from '../infrastructure/redis/connect.ts';
import { createRedisBus } from '../infrastructure/redis/redis-bus.ts';
import { createRedisJobCache } from '../infrastructure/redis/redis-job-cache.ts';
import { createRedisRateLimitStore } from '../infrastructure/redis/redis-rate-limit-store.ts';
import type { Logger } from '../logger.ts';
import type { Releasers } from '../releasers.ts';
import type { WorkQueue } from '../workers/work-queue.ts';

/** The ports of this process, each with the adapter that the configuration asks for. */
export interface Adapters {
  readonly database: PostgresDatabase;
  readonly store: EventStore;
  /** Database and store once more, for those whom a client waits for: they give up after `REQUEST_PATIENCE_MS`. */
  readonly openForRequests: () => RequestAdapters;
  readonly bus: Bus;
  /** Only for those who read. */
  readonly openCache: () => JobCache;
  /** The queue's connections are only for those who fill it or take from it. */
  readonly openQueue: () => Promise<WorkQueue>;
  /** Resolves when Redis answers; null without Redis. */
  readonly pingRedis: (() => Promise<unknown>) | null;
  /** Where the limiter of a name counts for all processes together; null leaves each to count for itself. */
  readonly createLimitStore: ((name: string) => Store) | null;
}

export interface RequestAdapters {
  readonly database: Database;
  readonly store: EventStore;
}

/** Most connections of a pool. Requests have one of their own: work in the background that hangs takes none of it. */
const POOL_SIZE = 10;

/**
 * Opens what every role needs. Postgres is embedded, unless `DATABASE_URL` names one, and is brought to this build's schema;
 * events are kept in it, unless `EVENTSTORE_URL` names an EventStoreDB or KurrentDB. With Redis the queue, the bus, the cache and
 * the rate limits are there; without, they are in Postgres and in this process.
 * @throws StartupError naming the part that cannot be had
 */
export async function openAdapters(config: Config, logger: Logger, releasers: Releasers): Promise<Adapters> {
  const url = config.DATABASE_URL ?? (await openEmbedded(config, logger, releasers));
  await migrate(url, { logger });
  const applicationName = `asyncly ${config.ROLES.join(',')}`;
  const database = createDatabase({ url, max: POOL_SIZE, applicationName, logger, prepare: true });
  releasers.push('postgres connections', () => database.close());
  const store = config.EVENTSTORE_URL
    ? await openEventStoreDb(config.EVENTSTORE_URL, logger)
    : createPostgresEventStore({ url, database, logger, owns: isOwnStream });
  releasers.push('event store', () => store.close());
  const redis = await openRedisIfAny(config, logger, releasers);
  const bus = redis ? createRedisBus({ redis, logger }) : createNotifyBus({ url, logger });
  releasers.push('bus', () => bus.close());
  return {
    database,
    store,
    openForRequests() {
      const patience = config.REQUEST_PATIENCE_MS;
      const name = `${applicationName} requests`;
      const view = {
        database: createDatabase({
          url,
          max: POOL_SIZE,
          applicationName: name,
          logger,
          patience,
          prepare: true,
        }),
        patience,
      };
      releasers.push('postgres connections of requests', () => view.database.close());
      return { database: view.database, store: store.impatient(view) };
    },
    bus,
    openCache: () => (redis ? createRedisJobCache({ redis, logger }) : createMemoryJobCache()),
    async openQueue() {
      const backend = redis ? createRedisQueueBackend(redis) : createPostgresQueueBackend(url, database);
      const queue = createBullmqQueue(await backend, logger);
      releasers.push('queue', () => queue.close());
      return queue;
    },
    pingRedis: redis ? () => soon(redis.shared.ping()) : null,
    createLimitStore: redis ? (name) => createRedisRateLimitStore({ redis, name, logger }) : null,
  };
}

/** Its client takes a second to load, which nobody else shall wait for. */
async function openEventStoreDb(url: string, logger: Logger): Promise<EventStoreDbEventStore> {
  const { createEventStoreDbEventStore } = await import('../infrastructure/eventstoredb/event-store.ts');
  return createEventStoreDbEventStore({ url, logger, owns: isOwnStream });
}

async function openRedisIfAny(
  { redisUrl }: Config,
  logger: Logger,
  releasers: Releasers,
): Promise<RedisConnections | null> {
  if (redisUrl === null) return null;
  const redis = await openRedis({ url: redisUrl, logger });
  releasers.push('redis connections', () => redis.close());
  return redis;
}

async function openEmbedded(config: Config, logger: Logger, releasers: Releasers): Promise<string> {
  const postgres = await openEmbeddedPostgres({ dataDir: config.DATA_DIR, roles: config.ROLES, logger });
  releasers.push('embedded postgres', () => postgres.stop());
  return postgres.url;
}
