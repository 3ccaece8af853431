import { expect, it } from 'vitest';
import type { EventStore, PositionedEvent } from '../../../src/events/event-store.ts';
import { collect, idsOf, newCategory, newEvent, newEvents } from './harness.ts';
import type { StoreUnderTest } from './harness.ts';

const WRITERS = 16;
const SUBSCRIBERS = 4;

export function describeFaults(subject: () => StoreUnderTest): void {
  it('loses, doubles and reorders nothing for 4 subscribers of 16 writers while a transaction is held open', async () => {
    const { faults, store, connect } = subject();
    const stores = [store, connect()];
    const load = await startLoad(stores, 40);
    for (let stall = 1; stall <= 4; stall++) {
      await load.reached(stall * WRITERS * 6);
      await faults.stall?.();
    }
    load.expectComplete(await load.done());
  }, 60_000);

  it('loses and doubles nothing when every connection is cut in the middle of the load, several times', async ({
    skip,
  }) => {
    const { faults, store, connect } = subject();
    if (!faults.disconnect) return skip();
    const load = await startLoad([store, connect()], 40);
    for (let cut = 1; cut <= 4; cut++) {
      await load.reached(cut * WRITERS * 6);
      await faults.disconnect();
    }
    load.expectComplete(await load.done());
  }, 60_000);

  it('delivers by polling when notifications are lost', async ({ skip }) => {
    const { faults, store } = subject();
    if (!faults.appendSilently) return skip();
    const { appendSilently } = faults;
    const category = newCategory();
    const event = newEvent();
    let appended = false;
    const seen = await collect(store, {
      after: await store.head(),
      prefixes: [category],
      async meanwhile({ kind }) {
        if (kind !== 'caught-up' || appended) return;
        appended = true;
        await appendSilently(`${category}1`, event);
      },
      until: (found) => found.length === 1,
    });
    expect(idsOf(seen)).toEqual([event.id]);
  });

  it('carries out what was asked for before it is closed, refuses what comes later, and ends its subscriptions', async () => {
    const { store, connect } = subject();
    const closing = connect();
    const stream = `${newCategory()}1`;
    const subscription = closing.subscribe({
      after: await store.head(),
      prefixes: [stream],
      signal: new AbortController().signal,
    });
    const ended = (async () => {
      for await (const message of subscription) expect(message.kind).toBeDefined();
    })();
    const asked = closing.append(stream, newEvents(2), { expected: 'no_stream' });
    await Promise.all([closing.close(), closing.close()]);
    await expect(asked).resolves.toEqual({ revision: 1 });
    await ended;
    await expect(closing.append(stream, newEvents(1), { expected: 'any' })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    });
    expect(await store.read(stream)).toHaveLength(2);
  });
}

/** Writers on streams of their own and on one they share, and subscribers that follow from before the first event. */
async function startLoad(stores: readonly EventStore[], perWriter: number) {
  const [first] = stores as [EventStore];
  const category = newCategory();
  const after = await first.head();
  const total = WRITERS * perWriter;
  let appended = 0;
  const waiting = new Set<() => void>();

  const subscribing = Array.from({ length: SUBSCRIBERS }, (_, subscriber) =>
    collect(stores[subscriber % stores.length]!, {
      after,
      prefixes: [category],
      batchSize: [500, 50, 7, 1][subscriber]!,
      until: (events) => events.length >= total,
    }),
  );
  const writing = Array.from({ length: WRITERS }, async (_, writer) => {
    const store = stores[writer % stores.length]!;
    for (let n = 0; n < perWriter; n++) {
      const shared = n % 4 === 3;
      const own = n - Math.floor((n + 1) / 4);
      await store.append(`${category}${shared ? 'shared' : writer}`, [newEvent({ writer, n })], {
        expected: shared ? 'any' : own === 0 ? 'no_stream' : own - 1,
      });
      appended++;
      for (const look of waiting) look();
    }
  });
  const finished = Promise.all([Promise.all(subscribing), Promise.all(writing)]);
  finished.catch(() => undefined);

  return {
    /** Resolves when that many events have been appended. */
    reached: (count: number): Promise<unknown> =>
      Promise.race([
        finished,
        new Promise<void>((resolve) => {
          const look = (): void => {
            if (appended < count) return;
            waiting.delete(look);
            resolve();
          };
          waiting.add(look);
          look();
        }),
      ]),
    done: async (): Promise<PositionedEvent[][]> => (await finished)[0],
    expectComplete(bySubscriber: readonly PositionedEvent[][]): void {
      const [reference] = bySubscriber as [PositionedEvent[]];
      expect(reference).toHaveLength(total);
      expect(new Set(idsOf(reference)).size).toBe(total);
      for (const seen of bySubscriber) expect(idsOf(seen)).toEqual(idsOf(reference));
      const nextOf = new Map<unknown, number>();
      const nextIn = new Map<string, number>();
      for (const { data, stream, revision } of reference) {
        expect(data['n']).toBe(nextOf.get(data['writer']) ?? 0);
        nextOf.set(data['writer'], Number(data['n']) + 1);
        expect(revision).toBe(nextIn.get(stream) ?? 0);
        nextIn.set(stream, revision + 1);
      }
    },
  };
}
