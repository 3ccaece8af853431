import { once } from 'node:events';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { PositionedEvent, SubscriptionMessage } from '../../src/events/event-store.ts';
import { throttleMarks } from '../../src/subscriptions/throttle-marks.ts';

const mark = (position: bigint): SubscriptionMessage => ({ kind: 'caught-up', position });
const batch = (...positions: bigint[]): SubscriptionMessage => ({
  kind: 'events',
  events: positions.map((position) => ({ position }) as PositionedEvent),
});

/** A subscription that gives what it is told and then waits on an idle store, until its signal or until it fails. */
function idleAfter(messages: readonly SubscriptionMessage[], failure?: Error) {
  const state = { ended: false, pulled: 0 };
  async function* subscribe(left: AbortSignal): AsyncGenerator<SubscriptionMessage> {
    try {
      for (const message of messages) {
        state.pulled++;
        yield message;
      }
      if (failure) throw failure;
      if (!left.aborted) await once(left, 'abort');
    } finally {
      state.ended = true;
    }
  }
  return { subscribe, state };
}

async function take(
  count: number,
  stream: AsyncIterable<SubscriptionMessage>,
): Promise<SubscriptionMessage[]> {
  const taken: SubscriptionMessage[] = [];
  for await (const message of stream) {
    taken.push(message);
    if (taken.length === count) break;
  }
  return taken;
}

describe('throttleMarks', () => {
  it('hands out every event, in order, and the first mark at once', async () => {
    const messages = [batch(1n, 2n), batch(3n), mark(3n), batch(7n)];
    const { subscribe } = idleAfter(messages);
    expect(await take(4, throttleMarks(subscribe, 60_000))).toEqual(messages);
  });

  it('hands a mark that came too early out when its time has come, though nothing follows', async () => {
    const { subscribe } = idleAfter([mark(1n), mark(2n), mark(3n)]);
    expect(await take(2, throttleMarks(subscribe, 50))).toEqual([mark(1n), mark(3n)]);
  });

  it('forgets a held mark when events overtake it', async () => {
    const { subscribe } = idleAfter([mark(1n), mark(2n), batch(5n), mark(9n)]);
    expect(await take(3, throttleMarks(subscribe, 50))).toEqual([mark(1n), batch(5n), mark(9n)]);
  });

  it('lets the consumer leave while the store is idle', async () => {
    const { subscribe, state } = idleAfter([batch(1n)]);
    await take(1, throttleMarks(subscribe, 50));
    expect(state.ended).toBe(true);
  });

  it('lets the consumer leave from a mark that was held back', async () => {
    const { subscribe, state } = idleAfter([mark(1n), mark(2n)]);
    await take(2, throttleMarks(subscribe, 20));
    expect(state.ended).toBe(true);
  });

  it('throws what the subscription threw, and only to the consumer', async () => {
    const unhandled: unknown[] = [];
    const note = (error: unknown): void => void unhandled.push(error);
    process.on('unhandledRejection', note);
    onTestFinished(() => void process.off('unhandledRejection', note));
    const { subscribe } = idleAfter([batch(1n)], new Error('cut'));
    const consuming = (async () => {
      for await (const message of throttleMarks(subscribe, 50)) {
        expect(message).toEqual(batch(1n));
        // Busy until long after the failure of the next message has come.
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    await expect(consuming).rejects.toThrow('cut');
    expect(unhandled).toEqual([]);
  });

  it('asks for no message before it is asked for one', async () => {
    const { subscribe, state } = idleAfter([batch(1n), batch(2n), batch(3n), batch(4n)]);
    const stream = throttleMarks(subscribe, 50);
    await stream.next();
    await new Promise((resolve) => setImmediate(resolve));
    expect(state.pulled).toBe(1);
    await stream.return(undefined);
    expect(state.ended).toBe(true);
  });

  it('ends when the subscription ends', async () => {
    async function* ended(): AsyncGenerator<SubscriptionMessage> {
      yield mark(1n);
      yield await Promise.resolve(mark(2n));
    }
    expect(await take(9, throttleMarks(ended, 60_000))).toEqual([mark(1n)]);
  });
});
