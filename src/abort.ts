import { setTimeout as delay } from 'node:timers/promises';

/** Waits, or returns early when the signal aborts. */
export async function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  await delay(milliseconds, undefined, { signal }).catch(() => undefined);
}

/** The signal's state now. A call, because the compiler takes an earlier look at `aborted` for the state ever after. */
export function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
