import { expect, it } from 'vitest';
import { START } from '../../src/events/event-store.ts';
import { closeClient, createClient } from '../../src/infrastructure/eventstoredb/client.ts';
import { createEventStoreDbEventStore } from '../../src/infrastructure/eventstoredb/event-store.ts';
import {
  readAllFrom,
  readHead,
  readStreamPage,
} from '../../src/infrastructure/eventstoredb/event-store-reads.ts';
import { subscribeToLog } from '../../src/infrastructure/eventstoredb/event-store-subscription.ts';
import { collectBacklog, idsOf, newCategory, newEvent, newEvents } from '../contract/event-store/harness.ts';
import { silentLogger } from '../support/database.ts';
import { spawnEventStoreDouble } from '../support/eventstoredb/process.ts';
import { startEventStoreDouble } from '../support/eventstoredb/server.ts';

it('keeps no call open that is not used any more, however early it was left', async () => {
  const double = await startEventStoreDouble();
  const store = createEventStoreDbEventStore({ url: double.url, logger: silentLogger });
  const stream = `${newCategory()}1`;
  const pad = 'x'.repeat(500);
  for (let n = 0; n < 40; n++) {
    const events = Array.from({ length: 50 }, () => newEvent({ pad }));
    await store.append(stream, events, { expected: 'any' });
  }
  const client = createClient(double.url, silentLogger);
  const reading = { client, gaveUp: () => false };
  for (let round = 0; round < 3; round++) {
    await readHead(reading);
    await readStreamPage(reading, stream, { limit: 50 });
    for await (const event of readAllFrom(reading, START, 150)) if (event.streamId === stream) break;
    const signal = new AbortController().signal;
    const options = { after: START, prefixes: [stream], batchSize: 100, signal };
    const deps = { feeding: { client }, reading, owns: () => true, logger: silentLogger };
    for (const kind of ['events', 'caught-up']) {
      for await (const message of subscribeToLog(deps, options)) if (message.kind === kind) break;
    }
  }
  // What the client itself keeps count of, to cancel it when it is disposed of.
  const open = Reflect.get(client, 'disposableStreams') as Set<unknown>;
  await expect.poll(() => open.size).toBe(0);
  await closeClient(client);
  await store.close();
  await double.stop();
});

it('serves several processes from a process of its own', async () => {
  const double = await spawnEventStoreDouble();
  const stores = [1, 2].map(() => createEventStoreDbEventStore({ url: double.url, logger: silentLogger }));
  const stream = `${newCategory()}1`;
  const events = newEvents(3);
  double.order({ appends: ['cut-after-commit'], cut: 'clean-end' });
  await stores[0]!.append(stream, events, { expected: 'no_stream' });
  expect(idsOf(await collectBacklog(stores[1]!, { after: START, prefixes: [stream] }))).toEqual(
    idsOf(events),
  );
  for (const store of stores) await store.close();
  expect(await double.stop()).toBe(0);
});
