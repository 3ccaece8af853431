import { expect, it } from 'vitest';
import { CheckpointAheadError, START } from '../../../src/events/event-store.ts';
import type { Position, SubscriptionMessage } from '../../../src/events/event-store.ts';
import { collect, collectBacklog, idsOf, newCategory, newEvent, newEvents, PATIENCE } from './harness.ts';
import type { StoreUnderTest } from './harness.ts';

export function describeSubscribe(subject: () => StoreUnderTest): void {
  it('hands out the backlog in order, then a mark, then what is new', async () => {
    const { store } = subject();
    const category = newCategory();
    const before = newEvents(25);
    const later = newEvents(3);
    const after = await store.head();
    await store.append(`${category}1`, before, { expected: 'no_stream' });
    const kinds: string[] = [];
    const seen = await collect(store, {
      after,
      prefixes: [category],
      batchSize: 10,
      async meanwhile({ kind }) {
        if (kind === 'caught-up' && !kinds.includes(kind)) {
          await store.append(`${category}2`, later, { expected: 'no_stream' });
        }
        kinds.push(kind);
      },
      until: (events) => events.length === 28,
    });
    expect(idsOf(seen)).toEqual(idsOf([...before, ...later]));
    expect(kinds.slice(0, 4)).toEqual(['events', 'events', 'events', 'caught-up']);
    expect(seen[0]).toEqual({
      ...before[0],
      stream: `${category}1`,
      revision: 0,
      position: seen[0]?.position,
    });
    const positions = seen.map(({ position }) => position);
    expect(positions).toEqual([...positions].sort((a, b) => (a < b ? -1 : 1)));
    expect(new Set(positions).size).toBe(28);
    expect(await store.head()).toBe(positions.at(-1));
  });

  it('resumes after any position, without a gap and without a double', async () => {
    const { store } = subject();
    const category = newCategory();
    const after = await store.head();
    await store.append(`${category}1`, newEvents(12), { expected: 'no_stream' });
    const all = await collectBacklog(store, { after, prefixes: [category] });
    for (const [i, { position }] of all.entries()) {
      const rest = await collectBacklog(store, { after: position, prefixes: [category], batchSize: 5 });
      expect(idsOf(rest)).toEqual(idsOf(all.slice(i + 1)));
    }
  });

  it('can be cut in the middle of a batch and resumed behind the last event that was used', async () => {
    const { store } = subject();
    const category = newCategory();
    const events = newEvents(40);
    let after = await store.head();
    await store.append(`${category}1`, events, { expected: 'no_stream' });
    const used: string[] = [];
    while (used.length < events.length) {
      const batch = await collect(store, {
        after,
        prefixes: [category],
        batchSize: 10,
        until: (seen) => seen.length > 0,
      });
      const part = batch.slice(0, 7);
      used.push(...idsOf(part));
      after = part.at(-1)!.position;
    }
    expect(used).toEqual(idsOf(events));
  });

  it('starts before the first event with START', async () => {
    const { store } = subject();
    const category = newCategory();
    const events = newEvents(2);
    await store.append(`${category}1`, events, { expected: 'no_stream' });
    expect(idsOf(await collectBacklog(store, { after: START, prefixes: [category] }))).toEqual(idsOf(events));
  });

  it('hands out only streams with one of the prefixes, whole names included', async () => {
    const { store } = subject();
    const category = newCategory();
    const after = await store.head();
    for (const name of [
      'job-1',
      'jobLog-1',
      'job',
      'webhook-1',
      'job-',
      'Job-1',
      'xjob-1',
      'job_1',
      'job%',
    ]) {
      await store.append(category + name, newEvents(1), { expected: 'no_stream' });
    }
    const streams = async (prefixes: string[]): Promise<string[]> => {
      const seen = await collectBacklog(store, {
        after,
        prefixes: prefixes.map((prefix) => category + prefix),
      });
      return seen.map(({ stream }) => stream.slice(category.length));
    };
    expect(await streams(['job-'])).toEqual(['job-1', 'job-']);
    expect(await streams(['jobLog-', 'webhook-'])).toEqual(['jobLog-1', 'webhook-1']);
    expect(await streams(['job_'])).toEqual(['job_1']);
    expect(await streams(['job%'])).toEqual(['job%']);
    const everything = await collectBacklog(store, { after, prefixes: [] });
    expect(everything.filter(({ stream }) => stream.startsWith(category))).toHaveLength(9);
  });

  it('marks how far it has looked, also when nothing of it was asked for', async () => {
    const { store } = subject();
    const category = newCategory();
    const after = await store.head();
    await store.append(`${category}other-1`, newEvents(60), { expected: 'no_stream' });
    let moved: Position | null = null;
    const marks: Position[] = [];
    const seen = await collect(store, {
      after,
      prefixes: [`${category}wanted-`],
      batchSize: 5,
      async meanwhile(message) {
        if (message.kind !== 'caught-up') return;
        marks.push(message.position);
        if (moved !== null) return;
        expect(message.position).toBeGreaterThanOrEqual(await store.head());
        await store.append(`${category}other-1`, newEvents(1), { expected: 59 });
        moved = await store.head();
      },
      until: () => moved !== null && marks.at(-1)! >= moved,
    });
    expect(seen).toEqual([]);
    expect(marks).toEqual([...marks].sort((a, b) => (a < b ? -1 : 1)));
  });

  it('never marks a position before every wanted event up to it was handed out', async () => {
    const { store } = subject();
    const category = newCategory();
    const after = await store.head();
    const writing = Promise.all(
      Array.from({ length: 4 }, async (_, writer) => {
        for (let n = 0; n < 40; n++) {
          await store.append(`${category}${n % 3 === 0 ? 'a' : 'b'}-${writer}-${n}`, newEvents(1), {
            expected: 'no_stream',
          });
        }
      }),
    );
    let newest = after;
    const seen = await collect(store, {
      after,
      prefixes: [`${category}a-`],
      batchSize: 3,
      meanwhile(message) {
        const at = message.kind === 'events' ? message.events[0]!.position : message.position;
        if (message.kind === 'events') expect(at).toBeGreaterThan(newest);
        else expect(at).toBeGreaterThanOrEqual(newest);
        newest = message.kind === 'events' ? message.events.at(-1)!.position : at;
      },
      until: (events) => events.length === 4 * 14,
    });
    await writing;
    expect(new Set(idsOf(seen)).size).toBe(4 * 14);
  });

  it('keeps at most two batches in memory, however slow the consumer is', async ({ skip }) => {
    const { store, fetched } = subject();
    if (!fetched) return skip();
    const category = newCategory();
    const after = await store.head();
    await store.append(`${category}1`, newEvents(100), { expected: 'no_stream' });
    const before = fetched();
    let handedOut = 0;
    const seen = await collect(store, {
      after,
      prefixes: [category],
      batchSize: 5,
      async meanwhile(message) {
        if (message.kind === 'events') handedOut += message.events.length;
        // More round trips than a fetch would take.
        for (let i = 0; i < 5; i++) await store.head();
        expect(fetched() - before - handedOut).toBeLessThanOrEqual(5);
      },
      until: (events) => events.length === 100,
    });
    expect(seen).toHaveLength(100);
  });

  it('hands out events of the largest size in batches bounded by their bytes', async () => {
    const { store } = subject();
    const category = newCategory();
    const after = await store.head();
    const large = 'x'.repeat(990_000);
    await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        store.append(`${category}${n}`, [newEvent({ n, large })], { expected: 'no_stream' }),
      ),
    );
    const seen = await collect(store, {
      after,
      prefixes: [category],
      meanwhile(message) {
        if (message.kind === 'events') expect(message.events.length).toBeLessThan(15);
      },
      until: (events) => events.length === 20,
    });
    // Appends to different streams may come in any order.
    const numbers = seen.map(({ data }) => Number(data['n'])).sort((a, b) => a - b);
    expect(numbers).toEqual(Array.from({ length: 20 }, (_, n) => n));
  });

  it('ends by its signal, without an error, before the start, while idle and in a batch', async () => {
    const { store } = subject();
    const category = newCategory();
    const after = await store.head();
    await store.append(`${category}1`, newEvents(5), { expected: 'no_stream' });
    const aborted = store.subscribe({ after, prefixes: [category], signal: AbortSignal.abort() });
    for await (const message of aborted) expect.fail(`handed out ${message.kind}`);
    for (const kind of ['events', 'caught-up'] satisfies SubscriptionMessage['kind'][]) {
      const stop = new AbortController();
      const kinds: string[] = [];
      for await (const message of store.subscribe({
        after,
        prefixes: [category],
        batchSize: 2,
        signal: stop.signal,
      })) {
        kinds.push(message.kind);
        // The idle one is aborted after the iteration has gone back to waiting.
        if (message.kind === kind) setImmediate(() => stop.abort());
        if (message.kind === kind && kind === 'events') await new Promise((resolve) => setImmediate(resolve));
      }
      expect(kinds.at(-1)).toBe(kind);
    }
  });

  it('refuses a position that the store has not reached', async () => {
    const { store } = subject();
    const after = (await store.head()) + 1_000_000n;
    const signal = AbortSignal.timeout(PATIENCE);
    const iterating = async (): Promise<void> => {
      for await (const message of store.subscribe({ after, prefixes: [], signal })) expect.fail(message.kind);
    };
    await expect(iterating()).rejects.toThrow(CheckpointAheadError);
  });
}
