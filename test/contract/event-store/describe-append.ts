import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import {
  assertEventSize,
  EventTooLargeError,
  MAX_EVENT_BYTES,
  WrongExpectedRevisionError,
} from '../../../src/events/event-store.ts';
import type { NewEvent } from '../../../src/events/event-store.ts';
import { idsOf, newCategory, newEvent, newEvents } from './harness.ts';
import type { StoreUnderTest } from './harness.ts';

export function describeAppend(subject: () => StoreUnderTest): void {
  const newStream = (): string => `${newCategory()}1`;

  it('creates a stream with `no_stream` and `any`, and counts revisions from 0', async () => {
    const { store } = subject();
    await expect(store.append(newStream(), newEvents(1), { expected: 'no_stream' })).resolves.toEqual({
      revision: 0,
    });
    await expect(store.append(newStream(), newEvents(3), { expected: 'any' })).resolves.toEqual({
      revision: 2,
    });
  });

  it('goes on with a stream at its revision and with `any`', async () => {
    const { store } = subject();
    const stream = newStream();
    await store.append(stream, newEvents(2), { expected: 'no_stream' });
    await expect(store.append(stream, newEvents(2), { expected: 1 })).resolves.toEqual({ revision: 3 });
    await expect(store.append(stream, newEvents(1), { expected: 'any' })).resolves.toEqual({ revision: 4 });
  });

  it.each([
    ['no_stream', 2, 1],
    [0, 2, 1],
    [5, 2, 1],
    [0, 0, 'no_stream'],
    [7, 0, 'no_stream'],
  ] as const)(
    'refuses %s on a stream of %i events, says %s, and writes nothing',
    async (expected, length, actual) => {
      const { store } = subject();
      const stream = newStream();
      if (length > 0) await store.append(stream, newEvents(length), { expected: 'no_stream' });
      const refused = store.append(stream, newEvents(2), { expected });
      await expect(refused).rejects.toThrow(WrongExpectedRevisionError);
      await expect(refused).rejects.toMatchObject({
        code: 'WRONG_EXPECTED_REVISION',
        stream,
        expected,
        actual,
      });
      expect(await store.read(stream)).toHaveLength(length);
    },
  );

  it('gives the same answer to the same ids again, also when the stream has gone on', async () => {
    const { store } = subject();
    const stream = newStream();
    const first = newEvents(2);
    const second = newEvents(2);
    await store.append(stream, first, { expected: 'no_stream' });
    await store.append(stream, second, { expected: 1 });
    for (let round = 0; round < 2; round++) {
      await expect(store.append(stream, first, { expected: 'no_stream' })).resolves.toEqual({ revision: 1 });
      await expect(store.append(stream, second, { expected: 1 })).resolves.toEqual({ revision: 3 });
      await store.append(stream, newEvents(1), { expected: 'any' });
    }
    expect(idsOf(await store.read(stream)).slice(0, 4)).toEqual(idsOf([...first, ...second]));
    expect(await store.read(stream)).toHaveLength(6);
  });

  it('recognises the same ids with `any` while they are recent', async () => {
    const { store } = subject();
    const stream = newStream();
    await store.append(stream, newEvents(1), { expected: 'no_stream' });
    const events = newEvents(2);
    await store.append(stream, events, { expected: 'any' });
    await expect(store.append(stream, events, { expected: 'any' })).resolves.toEqual({ revision: 2 });
    expect(await store.read(stream)).toHaveLength(3);
  });

  it('recognises a long append with `any` as well', async () => {
    const { store } = subject();
    const stream = newStream();
    const events = newEvents(200);
    await store.append(stream, events, { expected: 'any' });
    await expect(store.append(stream, events, { expected: 'any' })).resolves.toEqual({ revision: 199 });
    expect(idsOf(await store.read(stream))).toEqual(idsOf(events));
  });

  it('takes the same ids for a repetition only when all of them stand at the expected place', async () => {
    const { store } = subject();
    const stream = newStream();
    const [a, b, c] = newEvents(3) as [NewEvent, NewEvent, NewEvent];
    await store.append(stream, [a, b], { expected: 'no_stream' });
    for (const events of [[a, c], [b, a], [a, b, c], [b]]) {
      await expect(store.append(stream, events, { expected: 'no_stream' })).rejects.toThrow(
        WrongExpectedRevisionError,
      );
    }
    await expect(store.append(stream, [a], { expected: 'no_stream' })).resolves.toEqual({ revision: 0 });
    expect(idsOf(await store.read(stream))).toEqual(idsOf([a, b]));
  });

  it('lets exactly one of many rivals win, and the others know where the stream is', async () => {
    const { store } = subject();
    const stream = newStream();
    const rivals = await Promise.allSettled(
      Array.from({ length: 20 }, () => store.append(stream, newEvents(2), { expected: 'no_stream' })),
    );
    const lost = rivals.filter((rival) => rival.status === 'rejected');
    expect(lost).toHaveLength(19);
    for (const { reason } of lost) expect(reason).toMatchObject({ actual: 1 });
    expect(await store.read(stream)).toHaveLength(2);
  });

  it('carries out appends to one stream in the order they were asked for', async () => {
    const { store } = subject();
    const stream = newStream();
    const events = newEvents(50);
    const revisions = await Promise.all(
      events.map((event, n) => store.append(stream, [event], { expected: n === 0 ? 'no_stream' : n - 1 })),
    );
    expect(revisions.map(({ revision }) => revision)).toEqual(events.map((_, n) => n));
    expect(idsOf(await store.read(stream))).toEqual(idsOf(events));
  });

  it('recognises a repetition that is asked for at the same time', async () => {
    const { store } = subject();
    const stream = newStream();
    const events = newEvents(2);
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => store.append(stream, events, { expected: 'no_stream' })),
    );
    expect(answers).toEqual(answers.map(() => ({ revision: 1 })));
    expect(await store.read(stream)).toHaveLength(2);
  });

  it('writes all events of an append side by side or none', async () => {
    const { store } = subject();
    const stream = newStream();
    await Promise.all(
      Array.from({ length: 10 }, (_, writer) =>
        store.append(stream, [newEvent({ writer }), newEvent({ writer }), newEvent({ writer })], {
          expected: 'any',
        }),
      ),
    );
    const writers = (await store.read(stream)).map(({ data }) => data['writer']);
    for (let i = 0; i < 30; i += 3) expect(new Set(writers.slice(i, i + 3)).size).toBe(1);
  });

  it('fails an append with values the store refuses, and none of those that went with it', async () => {
    const { store } = subject();
    const stream = newStream();
    const outcomes = await Promise.allSettled([
      store.append(`${stream}a`, newEvents(1), { expected: 'no_stream' }),
      store.append(`${stream}b`, [newEvent(), { ...newEvent(), id: 'no-uuid' }], { expected: 'no_stream' }),
      store.append(`${stream}c`, newEvents(1), { expected: 'no_stream' }),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(await store.read(`${stream}b`)).toEqual([]);
  });

  it('keeps data and metadata as they were', async () => {
    const { store } = subject();
    const stream = newStream();
    const data = {
      text: 'Zoë, 日本語, 👩‍👩‍👧, \u202e, "quotes", back\\slash, {braces}, NULL, \r\n\t\u007f',
      nul: 'a\u0000b',
      lone: ['\ud800', '\udc00x'],
      ['key \u0000 "\\" \ud83d']: true,
      numbers: [
        0,
        -1,
        0.1,
        1e21,
        5e-324,
        1.7976931348623157e308,
        Number.MAX_SAFE_INTEGER,
        Number.MIN_SAFE_INTEGER,
      ],
      empty: [{}, [], '', null, false],
      z: 1,
      a: 2,
    };
    const event = newEvent(data);
    await store.append(stream, [event], { expected: 'no_stream' });
    const [read] = await store.read(stream);
    expect(read).toEqual({ ...event, stream, revision: 0 });
    expect(JSON.stringify(read?.data)).toBe(JSON.stringify(data));
  });

  it(`takes an event of ${MAX_EVENT_BYTES} bytes and refuses one of a byte more before anything is written`, async () => {
    const { store } = subject();
    const stream = newStream();
    const largest = eventOfBytes(MAX_EVENT_BYTES);
    await store.append(stream, [largest], { expected: 'no_stream' });
    expect((await store.read(stream))[0]?.data).toEqual(largest.data);
    const refused = store.append(stream, [newEvent(), eventOfBytes(MAX_EVENT_BYTES + 1)], { expected: 0 });
    await expect(refused).rejects.toThrow(EventTooLargeError);
    expect(await store.read(stream)).toHaveLength(1);
  });
}

/** Two bytes a character, so that counting characters would be wrong. */
function eventOfBytes(bytes: number): NewEvent {
  const event = newEvent({ text: '', pad: '' }, `Large${randomUUID().slice(0, 8)}`);
  const empty = assertEventSize(event, JSON.stringify(event.data), JSON.stringify(event.metadata));
  const room = bytes - empty;
  return { ...event, data: { text: 'ß'.repeat(Math.floor(room / 2)), pad: 'x'.repeat(room % 2) } };
}
