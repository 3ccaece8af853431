import { expect, it, onTestFinished } from 'vitest';
import { START } from '../../src/events/event-store.ts';
import { createEventStoreDbEventStore } from '../../src/infrastructure/eventstoredb/event-store.ts';
import { collectBacklog, idsOf, newCategory, newEvents } from '../contract/event-store/harness.ts';
import { createCuttingProxy } from '../support/cutting-proxy.ts';
import { silentLogger } from '../support/database.ts';
import { startEventStoreDouble } from '../support/eventstoredb/server.ts';
import { eventually } from '../support/waiting.ts';

async function setup(options: string) {
  const double = await startEventStoreDouble();
  const proxy = await createCuttingProxy({ host: '127.0.0.1', port: Number(new URL(double.url).port) });
  const store = createEventStoreDbEventStore({
    url: `esdb://127.0.0.1:${proxy.port}?tls=false${options}`,
    logger: silentLogger,
    connectTimeout: 200,
  });
  onTestFinished(async () => {
    await store.close();
    await proxy.close();
    await double.stop();
  });
  return { proxy, store, stream: `${newCategory()}1` };
}

it.each(['', '&keepAliveInterval=-1', '&keep_alive_interval=12000'])(
  'gets through to a server whose connections were taken and led nowhere, with "%s"',
  async (options) => {
    const { proxy, store, stream } = await setup(options);
    const pass = proxy.swallow();
    const appended = store.append(stream, newEvents(2), { expected: 'no_stream' });
    const subscribed = collectBacklog(store, { after: START, prefixes: [stream] });
    // A replacement that is swallowed as well is replaced in its turn.
    await eventually(() => proxy.received > 0);
    const byFirst = proxy.received;
    await eventually(() => proxy.received > byFirst);
    pass();
    expect(await appended).toEqual({ revision: 1 });
    expect(await subscribed).toBeDefined();
    const read = await store.read(stream);
    expect(read).toHaveLength(2);
    expect(idsOf(await collectBacklog(store, { after: START, prefixes: [stream] }))).toEqual(idsOf(read));
  },
);

it('takes no read for finished whose connection was given up', async () => {
  const { proxy, store, stream } = await setup('');
  await store.append(stream, newEvents(2), { expected: 'no_stream' });
  const head = await store.head();
  proxy.reset();
  const pass = proxy.swallow();
  const reading = Promise.all([
    store.read(stream),
    store.read(stream, { direction: 'backwards' }),
    store.head(),
    collectBacklog(store, { after: head, prefixes: [stream] }),
  ]);
  // The first connection after the cut has been given up, with all that was asked of it.
  const first = proxy.received;
  await eventually(() => proxy.received > first);
  const second = proxy.received;
  await eventually(() => proxy.received > second);
  pass();
  const [forwards, backwards, position, backlog] = await reading;
  expect([forwards.length, backwards.length, position]).toEqual([2, 2, head]);
  expect(backlog).toEqual([]);
});

it('keeps a connection that has come about, however long nothing comes through', async () => {
  const { proxy, store, stream } = await setup('');
  await store.append(stream, newEvents(1), { expected: 'no_stream' });
  const before = proxy.connections;
  const stop = proxy.slowDown(700);
  expect(await store.read(stream)).toHaveLength(1);
  stop();
  expect(proxy.connections).toBe(before);
});
