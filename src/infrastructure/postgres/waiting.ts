import { setTimeout as delay } from 'node:timers/promises';

/** Exponential backoff with jitter. @param failures in a row so far, from 1 @returns milliseconds */
export function backoff(failures: number, first: number, most: number): number {
  return Math.min(first * 2 ** (failures - 1), most) * (0.5 + Math.random() / 2);
}

/** Waits, or returns early when the signal aborts. */
export async function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  await delay(milliseconds, undefined, signal ? { signal } : {}).catch(() => undefined);
}

/** A function, so that the compiler does not assume the signal's state from an earlier look. */
export function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
