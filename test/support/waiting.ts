import { setTimeout as delay } from 'node:timers/promises';

/** A promise to be settled from outside. */
export interface Gate<T> {
  readonly opened: Promise<T>;
  readonly open: (value: T) => void;
}

export function createGate<T = void>(): Gate<T> {
  let open!: (value: T) => void;
  const opened = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** Milliseconds between two looks: few at first, and not much of a processor while it takes long. */
const PAUSE = { least: 10, most: 50 };

/**
 * Calls `check` until it neither throws nor answers false, null or undefined, and returns what it answered.
 * @throws what it last threw, or an Error with its last answer, after `deadlineMs`
 */
export async function eventually<T>(
  check: () => T | Promise<T>,
  deadlineMs = 10_000,
): Promise<Exclude<NonNullable<T>, false>> {
  const began = performance.now();
  for (;;) {
    let last: unknown;
    try {
      const answer = await check();
      if (answer !== false && answer !== null && answer !== undefined)
        return answer as Exclude<NonNullable<T>, false>;
      last = new Error(`Still ${String(answer)} after ${deadlineMs} ms`);
    } catch (error) {
      last = error;
    }
    const waited = performance.now() - began;
    if (waited > deadlineMs) throw last;
    await delay(Math.min(PAUSE.most, PAUSE.least + waited / 20));
  }
}
