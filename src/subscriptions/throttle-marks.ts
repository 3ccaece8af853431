import { setTimeout as delay } from 'node:timers/promises';
import type { SubscriptionMessage } from '../events/event-store.ts';

/**
 * The same subscription with at most one `caught-up` mark an interval. A mark that comes too early is held back, and handed
 * out late unless events or a newer mark come first: a consumer that saves marks is never left behind an idle store.
 * @param intervalMs milliseconds between two marks
 */
export async function* throttleMarks(
  subscription: AsyncIterable<SubscriptionMessage>,
  intervalMs: number,
): AsyncGenerator<SubscriptionMessage> {
  const messages = subscription[Symbol.asyncIterator]();
  let held: SubscriptionMessage | null = null;
  let markedAt = Number.NEGATIVE_INFINITY;
  let next = messages.next();
  try {
    for (;;) {
      const result: IteratorResult<SubscriptionMessage> | 'timeout' =
        held === null ? await next : await nextOrTimeout(next, markedAt + intervalMs - performance.now());
      if (result === 'timeout') {
        if (held !== null) yield held;
        held = null;
        markedAt = performance.now();
        continue;
      }
      if (result.done === true) return;
      next = messages.next();
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
    // The consumer left early: the pending pull must not surface as an unhandled rejection.
    next.catch(() => undefined);
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
