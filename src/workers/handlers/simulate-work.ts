import { setTimeout as delay } from 'node:timers/promises';

/** Lets a while pass that stands for real work. @param ms at a time scale of 1 @throws the signal's reason */
export type SimulateWork = (ms: number, signal: AbortSignal) => Promise<void>;

/** Longest wait a Node timer can do. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** @param timeScale factor on every duration; 0 takes no time at all */
export function simulateWork(timeScale: number): SimulateWork {
  return async (ms, signal) => {
    signal.throwIfAborted();
    if (timeScale === 0) return;
    await delay(Math.min(ms * timeScale, MAX_TIMER_MS), undefined, { signal }).catch((error: unknown) => {
      signal.throwIfAborted();
      throw error;
    });
  };
}
