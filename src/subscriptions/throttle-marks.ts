import { setTimeout as delay } from 'node:timers/promises';
import type { SubscriptionMessage } from '../events/event-store.ts';

/**
 * A subscription with at most one `caught-up` mark an interval. A mark that comes too early is held back, and handed
 * out late unless events or a newer mark come first: a consumer that saves marks is never left behind an idle store.
 * The next message is asked for when the consumer asks: what is stored meanwhile comes together.
 * @param subscribe begins the subscription; the signal ends it when the consumer leaves, for what waits on an idle
 * store cannot be returned from
 * @param intervalMs milliseconds between two marks
 */
export async function* throttleMarks(
  subscribe: (left: AbortSignal) => AsyncIterable<SubscriptionMessage>,
  intervalMs: number,
): AsyncGenerator<SubscriptionMessage> {
  const left = new AbortController();
  const messages = subscribe(left.signal)[Symbol.asyncIterator]();
  const pull = (): Promise<IteratorResult<SubscriptionMessage>> => {
    const next = messages.next();
    // It may fail while the consumer is busy: it is seen when it is awaited, and must not end the process before.
    next.catch(() => undefined);
    return next;
  };
  let held: SubscriptionMessage | null = null;
  let markedAt = Number.NEGATIVE_INFINITY;
  let next: Promise<IteratorResult<SubscriptionMessage>> | null = null;
  try {
    for (;;) {
      next ??= pull();
      const result: IteratorResult<SubscriptionMessage> | 'timeout' =
        held === null ? await next : await nextOrTimeout(next, markedAt + intervalMs - performance.now());
      if (result === 'timeout') {
        if (held !== null) yield held;
        held = null;
        markedAt = performance.now();
        continue;
      }
      if (result.done === true) return;
      next = null;
      const message: SubscriptionMessage = result.value;
      if (message.kind === 'caught-up' && performance.now() - markedAt < intervalMs) {
        held = message;
        continue;
      }
      held = null;
      if (message.kind === 'caught-up') markedAt = performance.now();
      yield message;
    }
  } finally {
    left.abort();
    await messages.return?.();
  }
}

async function nextOrTimeout<T>(next: Promise<T>, milliseconds: number): Promise<T | 'timeout'> {
  const cancel = new AbortController();
  const timer = delay(Math.max(0, milliseconds), 'timeout' as const, { signal: cancel.signal });
  timer.catch(() => undefined);
  try {
    return await Promise.race([next, timer]);
  } finally {
    cancel.abort();
  }
}
