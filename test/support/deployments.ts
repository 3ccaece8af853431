import { startEventStoreDouble } from './eventstoredb/server.ts';
import { startRedisServer, withRedis } from './redis-server.ts';
import { addressesOf, startService } from './service.ts';
import type { Service, ServiceSettings } from './service.ts';

/** One way of running the service that the contract suites are held against. */
export interface Deployment {
  readonly name: string;
  /** Whether `start` heeds its settings, and the test's handlers are there. */
  readonly configurable: boolean;
  start(settings: ServiceSettings): Promise<Service>;
}

const embedded: Deployment = { name: 'embedded', configurable: true, start: startService };

/** Events in EventStoreDB's protocol, and everything that passes in Redis. */
const distributed: Deployment = {
  name: 'distributed',
  configurable: true,
  async start(settings) {
    const [eventStore, redis] = await Promise.all([startEventStoreDouble(), startRedisServer()]);
    const dispose = async (): Promise<void> => {
      await Promise.all([eventStore.stop(), redis.dispose()]);
    };
    try {
      const service = await startService({
        EVENTSTORE_URL: eventStore.url,
        REDIS_URL: redis.url,
        ...settings,
      });
      return { ...service, stop: () => service.stop().finally(dispose) };
    } catch (error) {
      await dispose();
      throw error;
    }
  },
};

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
  if (url) return [runningAt(url)];
  return withRedis ? [embedded, distributed] : [embedded];
}
