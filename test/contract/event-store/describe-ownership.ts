import { expect, it } from 'vitest';
import { START } from '../../../src/events/event-store.ts';
import type { Position, SubscriptionMessage } from '../../../src/events/event-store.ts';
import { collect, collectBacklog, idsOf, newCategory, newEvents } from './harness.ts';
import type { StoreUnderTest } from './harness.ts';

/** Others write to the same server, in streams that are named much like ours. */
export function describeOwnership(subject: () => StoreUnderTest): void {
  /** Whether a stream of this category ends in a number: only those are ours. */
  const owned = (category: string) => (stream: string) =>
    stream.startsWith(category) && /^[0-9]+$/.test(stream.slice(category.length));

  it('passes over streams that are not owned, though they have a wanted prefix', async () => {
    const category = newCategory();
    const store = subject().connect(owned(category));
    const after = await store.head();
    const ours = newEvents(4);
    for (const [n, event] of ours.entries()) {
      await store.append(`${category}${n % 2}`, [event], { expected: 'any' });
      await store.append(`${category}theirs`, newEvents(n + 1), { expected: 'any' });
      await store.append(`${category}1x`, newEvents(1), { expected: 'any' });
    }
    for (const prefixes of [[category], []]) {
      for (const batchSize of [1, 2, 500]) {
        const seen = await collectBacklog(store, { after, prefixes, batchSize });
        expect(idsOf(seen)).toEqual(idsOf(ours));
      }
    }
    const seen = await collectBacklog(store, { after, prefixes: [category] });
    for (const { position } of await collectBacklog(subject().store, { after, prefixes: [category] })) {
      const rest = await collectBacklog(store, { after: position, prefixes: [category], batchSize: 2 });
      expect(idsOf(rest)).toEqual(idsOf(seen.filter((event) => event.position > position)));
    }
  });

  it('never hands out an empty batch, and marks how far it has looked when nothing was ours', async () => {
    const category = newCategory();
    const store = subject().connect(owned(category));
    const after = await store.head();
    await store.append(`${category}theirs`, newEvents(60), { expected: 'no_stream' });
    let moved: Position | null = null;
    const messages: SubscriptionMessage[] = [];
    await collect(store, {
      after,
      prefixes: [category],
      batchSize: 5,
      async meanwhile(message) {
        messages.push(message);
        if (message.kind !== 'caught-up' || moved !== null) return;
        await store.append(`${category}theirs`, newEvents(1), { expected: 59 });
        moved = await store.head();
      },
      until: (_, message) => message.kind === 'caught-up' && moved !== null && message.position >= moved,
    });
    expect(messages.filter(({ kind }) => kind === 'events')).toEqual([]);
  });

  it('never marks a position before everything of ours up to it was handed out', async () => {
    const category = newCategory();
    const store = subject().connect(owned(category));
    const after = await store.head();
    const writing = Promise.all(
      Array.from({ length: 4 }, async (_, writer) => {
        for (let n = 0; n < 40; n++) {
          const name = n % 3 === 0 ? `${writer}${n}` : `theirs-${writer}-${n}`;
          await store.append(`${category}${name}`, newEvents(1), { expected: 'no_stream' });
        }
      }),
    );
    let newest = after;
    const seen = await collect(store, {
      after,
      prefixes: [category],
      batchSize: 3,
      meanwhile(message) {
        if (message.kind === 'caught-up') {
          expect(message.position).toBeGreaterThanOrEqual(newest);
          newest = message.position;
          return;
        }
        expect(message.events.length).toBeGreaterThan(0);
        expect(message.events[0]!.position).toBeGreaterThan(newest);
        newest = message.events.at(-1)!.position;
      },
      until: (events) => events.length === 4 * 14,
    });
    await writing;
    expect(new Set(idsOf(seen)).size).toBe(4 * 14);
  });

  it('reads and appends by name, whoever owns the stream', async () => {
    const category = newCategory();
    const store = subject().connect(owned(category));
    const events = newEvents(2);
    await store.append(`${category}theirs`, events, { expected: 'no_stream' });
    expect(idsOf(await store.read(`${category}theirs`))).toEqual(idsOf(events));
    expect(await store.head()).toBeGreaterThan(START);
  });
}
