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

/** A service somebody else has started: it is as it is, and stays. */
function runningAt(url: string): Deployment {
  return {
    name: url,
    configurable: false,
    start: () =>
      Promise.resolve({ ...addressesOf(url), databaseUrl: null, stop: () => Promise.resolve() }),
  };
}

/** The deployments to test: the one that ASYNCLY_CONTRACT_URL names (without `/api`), or all that can be started here. */
export function deployments(): readonly Deployment[] {
  const url = process.env['ASYNCLY_CONTRACT_URL'];
  return url ? [runningAt(url)] : [embedded];
}
