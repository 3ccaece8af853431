import { openAdapters } from '../../src/composition/adapters.ts';
import type { RequestAdapters } from '../../src/composition/adapters.ts';
import { openApi } from '../../src/composition/api.ts';
import { openCore, openHandlers } from '../../src/composition/core.ts';
import { loadConfig } from '../../src/config.ts';
import { START } from '../../src/events/event-store.ts';
import type { EventStore } from '../../src/events/event-store.ts';
import { createLogger } from '../../src/logger.ts';
import { Releasers } from '../../src/releasers.ts';

/** The service's own api over an event store that stores nothing: what a submission costs besides its one durable write. */
const nothing: EventStore = {
  append: (_stream, events) => Promise.resolve({ revision: events.length - 1 }),
  read: () => Promise.resolve([]),
  // eslint-disable-next-line require-yield
  async *subscribe({ signal }) {
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
  },
  head: () => Promise.resolve(START),
  close: () => Promise.resolve(),
};

const config = loadConfig();
const logger = createLogger(config.LOG_LEVEL);
const releasers = new Releasers(logger);
const adapters = await openAdapters(config, logger, releasers);
const openForRequests = (): RequestAdapters => ({ ...adapters.openForRequests(), store: nothing });
const core = await openCore(config, { ...adapters, store: nothing, openForRequests }, logger, releasers);
if (core.requests === null) throw new Error('ROLES must have the api');
await openApi(core, core.requests, await openHandlers(core));
process.once('SIGTERM', () => void releasers.releaseAll());
