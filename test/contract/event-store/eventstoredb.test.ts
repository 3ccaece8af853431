import { describe } from 'vitest';
import type { EventStore } from '../../../src/events/event-store.ts';
import { createEventStoreDbEventStore } from '../../../src/infrastructure/eventstoredb/event-store.ts';
import { silentLogger } from '../../support/database.ts';
import { startEventStoreDouble } from '../../support/eventstoredb/server.ts';
import { describeEventStore } from './describe-event-store.ts';
import type { StoreUnderTest } from './harness.ts';

/** Opens stores of one server and closes them all. */
function createStores(url: string): { connect: StoreUnderTest['connect']; close: () => Promise<void> } {
  const stores: EventStore[] = [];
  return {
    connect(owns) {
      const store = createEventStoreDbEventStore({ url, logger: silentLogger, ...(owns && { owns }) });
      stores.push(store);
      return store;
    },
    async close() {
      for (const store of stores) await store.close();
    },
  };
}

describeEventStore('EventStoreDB (protocol double)', async (): Promise<StoreUnderTest> => {
  const double = await startEventStoreDouble();
  const { connect, close } = createStores(double.url);
  return {
    store: connect(),
    connect,
    faults: {
      async stall() {
        const before = double.counts.appendCalls;
        const release = double.stall();
        while (double.counts.appendCalls === before) await new Promise((resolve) => setImmediate(resolve));
        release();
      },
      disconnect() {
        double.cutConnections();
        return Promise.resolve();
      },
    },
    async dispose() {
      await close();
      await double.stop();
    },
  };
});

/** A real one, with whatever is in it: the cases use streams of their own. */
const realServer = process.env['EVENTSTORE_TEST_URL'];

describe.runIf(realServer)('with EVENTSTORE_TEST_URL', () => {
  describeEventStore('EventStoreDB (real server)', (): Promise<StoreUnderTest> => {
    const { connect, close } = createStores(realServer ?? '');
    return Promise.resolve({ store: connect(), connect, faults: {}, dispose: close });
  });
});
