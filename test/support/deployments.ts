import { startEventStoreDouble } from './eventstoredb/server.ts';
import type { EventStoreDouble } from './eventstoredb/server.ts';
import { startRedisServer, withRedis } from './redis-server.ts';
import type { RedisServer } from './redis-server.ts';
import { addressesOf, startService } from './service.ts';
import type { Service, ServiceSettings, StartedService } from './service.ts';

/** One way of running the service that the contract suites are held against. */
export interface Deployment {
  readonly name: string;
  /** Whether `start` heeds its settings, and the test's handlers are there. */
  readonly configurable: boolean;
  start(settings: ServiceSettings): Promise<Service>;
}

/** A service on parts of its own, which a test can look into or make fail. */
export interface OwnService extends StartedService {
  /** null: events are in Postgres. */
  readonly eventStore: EventStoreDouble | null;
  /** null: everything else is in Postgres and in the process. */
  readonly redis: RedisServer | null;
}

export interface OwnDeployment extends Deployment {
  start(settings: ServiceSettings): Promise<OwnService>;
}

/** Where the service keeps its events, and what passes through it. */
interface Parts {
  /** EventStoreDB's protocol, or else Postgres. */
  readonly eventStoreDb: boolean;
  /** Redis for queue, bus, cache and limits, or else Postgres and the process itself. */
  readonly redis: boolean;
}

function madeOf(name: string, parts: Parts): OwnDeployment {
  return {
    name,
    configurable: true,
    async start(settings) {
      const [eventStore, redis] = await Promise.all([
        parts.eventStoreDb ? startEventStoreDouble() : null,
        parts.redis ? startRedisServer() : null,
      ]);
      const dispose = async (): Promise<void> => {
        await Promise.all([eventStore?.stop(), redis?.dispose()]);
      };
      try {
        const service = await startService({
          ...(eventStore && { EVENTSTORE_URL: eventStore.url }),
          ...(redis && { REDIS_URL: redis.url }),
          ...settings,
        });
        return { ...service, eventStore, redis, stop: () => service.stop().finally(dispose) };
      } catch (error) {
        await dispose();
        throw error;
      }
    },
  };
}

const withoutRedis: readonly OwnDeployment[] = [
  madeOf('embedded', { eventStoreDb: false, redis: false }),
  madeOf('EventStoreDB without Redis', { eventStoreDb: true, redis: false }),
];

/** What can be started here; without a `redis-server` that is the half of them. */
export const ownDeployments: readonly OwnDeployment[] = withRedis
  ? [
      ...withoutRedis,
      madeOf('Redis without EventStoreDB', { eventStoreDb: false, redis: true }),
      madeOf('distributed', { eventStoreDb: true, redis: true }),
    ]
  : withoutRedis;

/** A service somebody else has started: it is as it is, and stays. */
function runningAt(url: string): Deployment {
  return {
    name: url,
    configurable: false,
    start: () => Promise.resolve({ ...addressesOf(url), databaseUrl: null, stop: () => Promise.resolve() }),
  };
}

/** The deployments to test: the one that ASYNCLY_CONTRACT_URL names (without `/api`), or all that can be started here. */
export function deployments(): readonly Deployment[] {
  const url = process.env['ASYNCLY_CONTRACT_URL'];
  return url ? [runningAt(url)] : ownDeployments;
}
