import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { EventStore, PositionedEvent, SubscriptionMessage } from '../../src/events/event-store.ts';
import { START } from '../../src/events/event-store.ts';
import { createEventStoreDbEventStore } from '../../src/infrastructure/eventstoredb/event-store.ts';
import {
  collect,
  collectBacklog,
  idsOf,
  newCategory,
  newEvent,
  newEvents,
} from '../contract/event-store/harness.ts';
import { silentLogger } from '../support/database.ts';
import type { AppendFault, ReadFault } from '../support/eventstoredb/faults.ts';
import { startEventStoreDouble } from '../support/eventstoredb/server.ts';
import type { EventStoreDouble } from '../support/eventstoredb/server.ts';

let double: EventStoreDouble;
let store: EventStore;
let category: string;

beforeEach(async () => {
  double = await startEventStoreDouble();
  store = createEventStoreDbEventStore({ url: double.url, logger: silentLogger });
  category = newCategory();
});

afterEach(async () => {
  await store.close();
  await double.stop();
});

it.each(['unavailable', 'clean-end'] as const)(
  'mends a drop (%s) in the middle of a batch, before the first event and while idle',
  async (how) => {
    const events = newEvents(30);
    await store.append(`${category}1`, events.slice(0, 20), { expected: 'no_stream' });
    let delivered = 0;
    double.faults.onDelivery = (stream) => {
      if (!stream.startsWith(category)) return null;
      delivered++;
      return delivered % 7 === 1 && delivered < 30 ? how : null;
    };
    let idle = 0;
    const seen = await collect(store, {
      after: START,
      prefixes: [category],
      batchSize: 8,
      async meanwhile({ kind }) {
        if (kind !== 'caught-up' || ++idle !== 1) return;
        double.cutSubscriptions(how);
        await store.append(`${category}1`, events.slice(20), { expected: 19 });
      },
      until: (all) => all.length >= 30,
    });
    expect(idsOf(seen)).toEqual(idsOf(events));
    expect(double.counts.subscriptions).toBeGreaterThan(4);
  },
);

it.each(['unavailable', 'clean-end', 'not-leader'] satisfies ReadFault[])(
  'subscribes again when it is turned away (%s)',
  async (fault) => {
    const events = newEvents(3);
    await store.append(`${category}1`, events, { expected: 'no_stream' });
    double.faults.subscriptions.push(fault, fault);
    double.faults.reads.push('unavailable', 'not-leader');
    expect(idsOf(await collectBacklog(store, { after: START, prefixes: [category] }))).toEqual(idsOf(events));
  },
);

it('goes on after a restart of the server', async () => {
  const events = newEvents(10);
  await store.append(`${category}1`, events.slice(0, 5), { expected: 'no_stream' });
  let restarted = false;
  const seen = await collect(store, {
    after: START,
    prefixes: [category],
    async meanwhile({ kind }) {
      if (kind !== 'caught-up' || restarted) return;
      restarted = true;
      const { log, port } = double;
      await double.stop();
      double = await startEventStoreDouble({ log, port });
      await store.append(`${category}1`, events.slice(5), { expected: 4 });
    },
    until: (all) => all.length >= 10,
  });
  expect(idsOf(seen)).toEqual(idsOf(events));
});

it('marks only positions of events, whatever the server names as its checkpoints', async () => {
  // Enough foreign events for checkpoints while it catches up, which point at the record to come.
  for (let n = 0; n < 10; n++) await store.append(`${category}other`, newEvents(50), { expected: 'any' });
  const ours = newEvents(40);
  let appended = 0;
  const marks = new Set<bigint>();
  const seen = await collect(store, {
    after: START,
    prefixes: [`${category}ours`],
    async meanwhile(message) {
      if (message.kind !== 'caught-up') return;
      marks.add(message.position);
      if (appended >= ours.length) return;
      const next = ours.slice(appended, appended + 10);
      await store.append(`${category}ours`, next, { expected: 'any' });
      await store.append(`${category}other`, newEvents(130), { expected: 'any' });
      appended += 10;
    },
    until: (all) => all.length >= ours.length,
  });
  expect(idsOf(seen)).toEqual(idsOf(ours));
  const positions = new Set(double.log.all.map(({ position }) => position));
  for (const mark of marks) expect(positions).toContain(mark);
  // A consumer that saved any of the marks misses nothing of what came after it.
  for (const mark of marks) {
    const rest = await collectBacklog(store, { after: mark, prefixes: [`${category}ours`] });
    expect(idsOf(rest)).toEqual(idsOf(seen.filter(({ position }) => position > mark)));
  }
});

it('does not take the place of the next record, named by a checkpoint, for that of an event that was seen', async () => {
  // With what the server wrote itself these are 128, after which it names a checkpoint.
  await store.append(`${category}other`, newEvents(127), { expected: 'no_stream' });
  const ours = newEvents(2);
  await store.append(`${category}ours`, ours, { expected: 'no_stream' });
  expect(double.log.all.findIndex(({ id }) => id === ours[0]!.id)).toBe(128);
  double.faults.deliveryDelay = 100;
  const seen = await collect(store, {
    after: START,
    prefixes: [`${category}ours`],
    until: (all) => all.length >= 2,
  });
  expect(idsOf(seen)).toEqual(idsOf(ours));
});

it('misses nothing when the event at its position has been removed since', async () => {
  await store.append(`${category}1`, newEvents(5), { expected: 'no_stream' });
  const all = await collectBacklog(store, { after: START, prefixes: [category] });
  const third = all[2]!;
  double.log.remove(double.log.all.find(({ id }) => id === third.id)!);
  const rest = await collectBacklog(store, { after: third.position, prefixes: [category] });
  expect(idsOf(rest)).toEqual(idsOf(all.slice(3)));
});

it('hands out no system events and no links to events that are gone', async () => {
  const json = { contentType: 'application/json', data: Buffer.from('{}'), metadata: Buffer.from('{}') };
  await store.append(`${category}1`, newEvents(1), { expected: 'no_stream' });
  double.log.append(`$$${category}1`, -2, [{ ...newEvent(), ...json, type: '$metadata' }]);
  double.log.append(`${category}1`, -2, [{ ...newEvent(), ...json, type: '$>' }]);
  await store.append(`${category}1`, newEvents(1), { expected: 'any' });
  for (const prefixes of [[category], []]) {
    const seen = await collectBacklog(store, { after: START, prefixes });
    expect(seen.map(({ revision }) => revision)).toEqual([0, 2]);
  }
});

it('lets a consumer that is slow hold back the server', async () => {
  const large = 'x'.repeat(100_000);
  for (let n = 0; n < 150; n++)
    await store.append(`${category}1`, [newEvent({ n, large })], { expected: 'any' });
  const stop = new AbortController();
  let taken = 0;
  for await (const message of store.subscribe({ after: START, prefixes: [category], signal: stop.signal })) {
    if (message.kind !== 'events') continue;
    taken += message.events.length;
    let before = -1;
    // Until no more comes out of the server.
    while (before !== double.counts.delivered) {
      before = double.counts.delivered;
      await delay(100);
    }
    const held = double.counts.deliveredBytes - taken * large.length;
    expect(held).toBeLessThan(8_000_000);
    if (taken === 150) break;
  }
  expect(taken).toBe(150);
}, 60_000);

it('notices a subscription that stays silent about what stands in the log', async () => {
  // Accepted, and never anything after that.
  double.faults.subscriptions.push('stall');
  await store.append(`${category}1`, newEvents(2), { expected: 'no_stream' });
  const seen = await collectBacklog(store, { after: START, prefixes: [category] });
  expect(seen).toHaveLength(2);
}, 60_000);

it('loses, doubles and reorders nothing for 4 subscribers of 16 writers through every fault', async () => {
  const faults: AppendFault[] = [
    'cut-after-commit',
    'cut-before-commit',
    'timeout',
    'busy',
    'not-leader',
    'lost-reply',
  ];
  let appends = 0;
  let deliveries = 0;
  double.faults.onAppend = () => (++appends % 23 === 0 ? faults[(appends / 23) % faults.length]! : null);
  double.faults.onDelivery = () =>
    ++deliveries % 211 === 0 ? (deliveries % 2 === 0 ? 'clean-end' : 'unavailable') : null;
  const stores = [store, createEventStoreDbEventStore({ url: double.url, logger: silentLogger })];
  const [writers, perWriter] = [16, 15];
  const total = writers * perWriter;
  const subscribing = [500, 50, 7, 1].map((batchSize, n) =>
    collect(stores[n % 2]!, {
      after: START,
      prefixes: [category],
      batchSize,
      until: (seen) => seen.length >= total,
    }),
  );
  await Promise.all(
    Array.from({ length: writers }, async (_, writer) => {
      for (let n = 0; n < perWriter; n++) {
        const shared = n % 3 === 2;
        const own = n - Math.floor((n + 1) / 3);
        const name = `${category}${shared ? 'shared' : writer}`;
        const expected = shared ? 'any' : own === 0 ? 'no_stream' : own - 1;
        await stores[writer % 2]!.append(name, [newEvent({ writer, n })], { expected });
      }
    }),
  );
  const [reference, ...others] = (await Promise.all(subscribing)) as [
    PositionedEvent[],
    ...PositionedEvent[][],
  ];
  expect(new Set(idsOf(reference)).size).toBe(total);
  for (const other of others) expect(idsOf(other)).toEqual(idsOf(reference));
  const next = new Map<unknown, number>();
  for (const { data } of reference) {
    expect(data['n']).toBe(next.get(data['writer']) ?? 0);
    next.set(data['writer'], Number(data['n']) + 1);
  }
  expect(double.log.all.filter((event) => event.stream.startsWith(category))).toHaveLength(total);
  await stores[1]!.close();
}, 90_000);

it('ends when the store is closed, in whatever state', async () => {
  double.faults.subscriptions.push('stall');
  await store.append(`${category}1`, newEvents(2), { expected: 'no_stream' });
  const messages: SubscriptionMessage[] = [];
  const signal = new AbortController().signal;
  const reading = (async () => {
    for await (const message of store.subscribe({ after: START, prefixes: [category], signal }))
      messages.push(message);
  })();
  await expect.poll(() => double.counts.subscriptions).toBe(1);
  await store.close();
  await reading;
  expect(messages).toEqual([]);
});
