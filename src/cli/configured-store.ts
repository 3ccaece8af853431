import { eventStoreAddress, openEventStore } from '../composition/open-event-store.ts';
import type { OpenedEventStore } from '../composition/open-event-store.ts';
import { loadConfig } from '../config.ts';
import { createLogger } from '../logger.ts';

/**
 * Lets `work` read the event store of the configuration, beside a service that runs or without one, and closes it.
 * @throws StartupError when there is none
 */
export async function withConfiguredStore<T>(work: (opened: OpenedEventStore) => Promise<T>): Promise<T> {
  const config = loadConfig();
  const opened = await openEventStore(eventStoreAddress(config), {
    dataDir: config.DATA_DIR,
    logger: createLogger('warn', 'stderr'),
    use: 'reading',
  });
  try {
    return await work(opened);
  } finally {
    await opened.close();
  }
}
