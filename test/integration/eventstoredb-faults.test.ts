import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UnavailableError } from '../../src/errors.ts';
import { EventTooLargeError, WrongExpectedRevisionError } from '../../src/events/event-store.ts';
import { createEventStoreDbEventStore } from '../../src/infrastructure/eventstoredb/event-store.ts';
import type { EventStoreDbEventStore } from '../../src/infrastructure/eventstoredb/event-store.ts';
import { idsOf, newCategory, newEvent, newEvents } from '../contract/event-store/harness.ts';
import { silentLogger } from '../support/database.ts';
import type { AppendFault } from '../support/eventstoredb/faults.ts';
import { EventLog } from '../support/eventstoredb/log.ts';
import { startEventStoreDouble } from '../support/eventstoredb/server.ts';
import type { EventStoreDouble } from '../support/eventstoredb/server.ts';

let double: EventStoreDouble;
let store: EventStoreDbEventStore;
let stream: string;

beforeEach(async () => {
  double = await startEventStoreDouble();
  store = createEventStoreDbEventStore({ url: double.url, logger: silentLogger });
  stream = `${newCategory()}1`;
});

afterEach(async () => {
  await store.close();
  await double.stop();
});

const committed: AppendFault[] = ['lost-reply', 'cut-after-commit', 'timeout', 'conflict-after-commit'];
const notCommitted: AppendFault[] = ['cut-before-commit', 'busy', 'not-leader', 'stall'];

describe.each([...committed, ...notCommitted])('an append that meets %s', (fault) => {
  it('is made once, and answered as if nothing had happened', async () => {
    const first = newEvents(2);
    double.faults.appends.push(fault);
    await expect(store.append(stream, first, { expected: 'no_stream' })).resolves.toEqual({ revision: 1 });
    const second = newEvents(2);
    double.faults.appends.push(fault);
    await expect(store.append(stream, second, { expected: 1 })).resolves.toEqual({ revision: 3 });
    const third = newEvents(2);
    double.faults.appends.push(fault);
    // With `any`, the server knows the ids only for a while: it has forgotten them here. One that it makes late cannot be found otherwise.
    const forgetting = setInterval(() => {
      if (fault !== 'timeout') double.log.forgetIds();
    }, 5);
    await expect(store.append(stream, third, { expected: 'any' })).resolves.toEqual({ revision: 5 });
    clearInterval(forgetting);
    expect(idsOf(await store.read(stream))).toEqual(idsOf([...first, ...second, ...third]));
  });

  it('is refused when someone else got there first, and says where the stream is', async () => {
    await store.append(stream, newEvents(3), { expected: 'no_stream' });
    double.faults.appends.push(fault);
    const refused = store.append(stream, newEvents(1), { expected: 0 });
    await expect(refused).rejects.toThrow(WrongExpectedRevisionError);
    await expect(refused).rejects.toMatchObject({ expected: 0, actual: 2 });
    expect(await store.read(stream)).toHaveLength(3);
  });
});

it('gives the same answer after a lost reply when others have gone on', async () => {
  const ours = newEvents(2);
  double.faults.appends.push('cut-after-commit', 'cut-before-commit');
  const appending = store.append(stream, ours, { expected: 'no_stream' });
  await expect.poll(() => double.log.stream(stream).length).toBe(2);
  double.log.append(stream, -2, [
    { ...newEvent(), contentType: 'application/json', data: Buffer.from('{}'), metadata: Buffer.from('{}') },
  ]);
  await expect(appending).resolves.toEqual({ revision: 1 });
  expect(double.log.stream(stream)).toHaveLength(3);
});

it.each(['stall', 'busy', 'cut-before-commit'] satisfies AppendFault[])(
  'gives up an append in bounded time while the server meets each with %s, and says nothing else of it',
  async (fault) => {
    double.faults.onAppend = () => fault;
    const impatient = createEventStoreDbEventStore({
      url: double.url,
      logger: silentLogger,
      patience: 1_000,
    });
    await expect(impatient.append(stream, newEvents(1), { expected: 'any' })).rejects.toThrow(
      UnavailableError,
    );
    // Nobody waits behind it.
    double.faults.onAppend = () => null;
    await expect(impatient.append(stream, newEvents(1), { expected: 'any' })).resolves.toEqual({
      revision: 0,
    });
    await impatient.close();
  },
);

it('keeps those without patience waiting for nothing, and goes on for the others', async () => {
  const impatient = store.impatient({ patience: 300 });
  await store.append(stream, newEvents(1), { expected: 'no_stream' });
  const release = double.stall();
  const patient = store.append(stream, newEvents(1), { expected: 0 });
  // More than go side by side: some are sent, some wait for their turn.
  const others = Array.from({ length: 100 }, (_, n) =>
    impatient.append(`${stream}-${n}`, newEvents(1), { expected: 'no_stream' }),
  );
  const outcomes = await Promise.allSettled([...others, impatient.read(stream), impatient.head()]);
  for (const outcome of outcomes) {
    expect(outcome.status === 'rejected' && outcome.reason instanceof UnavailableError).toBe(true);
  }
  await expect(Promise.race([patient, Promise.resolve('still under way')])).resolves.toBe('still under way');
  release();
  await expect(patient).resolves.toEqual({ revision: 1 });
  expect(await store.read(stream)).toHaveLength(2);
});

it('finds an append of `any` again that was made by the first of several tries', async () => {
  await store.append(stream, newEvents(5), { expected: 'any' });
  const ours = newEvents(3);
  double.faults.appends.push('cut-after-commit', 'busy');
  double.log.on('appended', () => double.log.forgetIds());
  await expect(store.append(stream, ours, { expected: 'any' })).resolves.toEqual({ revision: 7 });
  expect(await store.read(stream)).toHaveLength(8);
});

it('keeps the order of appends to one stream while the first of them are tried again', async () => {
  const events = newEvents(10);
  double.faults.appends.push('cut-before-commit', 'busy', 'cut-after-commit');
  const revisions = await Promise.all(
    events.map((event, n) => store.append(stream, [event], { expected: n === 0 ? 'no_stream' : n - 1 })),
  );
  expect(revisions.map(({ revision }) => revision)).toEqual(events.map((_, n) => n));
  expect(idsOf(await store.read(stream))).toEqual(idsOf(events));
});

it('refuses an append above the limit of the server before anything is sent', async () => {
  const half = 'x'.repeat(600_000);
  const refused = store.append(stream, [newEvent({ half }), newEvent({ half })], { expected: 'any' });
  await expect(refused).rejects.toThrow(EventTooLargeError);
  expect(double.counts.appendCalls).toBe(0);
});

it('appends call by call, whatever else the server offers', async () => {
  await store.append(stream, newEvents(1), { expected: 'any' });
  expect(double.counts).toMatchObject({ appendCalls: 1, batchAppendCalls: 0 });
});

it.each(['unavailable', 'not-leader'] as const)('reads again when the server is %s', async (fault) => {
  await store.append(stream, newEvents(3), { expected: 'any' });
  double.faults.reads.push(fault, fault);
  expect(await store.read(stream)).toHaveLength(3);
  double.faults.reads.push(fault);
  expect(await store.head()).toBe(double.log.all.at(-1)?.position);
});

it('goes on with a server that was restarted, and with the appends that came meanwhile', async () => {
  await store.append(stream, newEvents(2), { expected: 'no_stream' });
  const { log, port } = double;
  await double.stop();
  const appending = store.append(stream, newEvents(2), { expected: 1 });
  log.forgetIds();
  double = await startEventStoreDouble({ log, port });
  await expect(appending).resolves.toEqual({ revision: 3 });
  expect(await store.read(stream)).toHaveLength(4);
});

it('says that nobody is there, in bounded time', async () => {
  await double.stop();
  await expect(store.read(stream)).rejects.toThrow(UnavailableError);
  await expect(store.head()).rejects.toThrow(UnavailableError);
  double = await startEventStoreDouble({ log: new EventLog() });
});
