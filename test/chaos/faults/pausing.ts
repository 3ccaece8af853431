import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually } from '../../support/waiting.ts';

/** Lets so much time pass. @throws the signal's reason */
export async function pause(seconds: number, signal: AbortSignal): Promise<void> {
  await delay(seconds * 1_000, undefined, { signal });
}

/** To one decimal place, as the schedule shows it. */
export function rounded(seconds: number): number {
  return Math.round(seconds * 10) / 10;
}

/** How long a fault waits for its target to be in a state to be struck. */
const TARGET_MS = 75_000;

/** Waits until something can be struck. @param what is waited for @throws the signal's reason, or an Error that says what was not to be had */
export async function readyToStrike(
  what: string,
  check: () => boolean | Promise<boolean>,
  signal: AbortSignal,
): Promise<void> {
  const over = new AbortController();
  const aborted = once(signal, 'abort', { signal: over.signal });
  // Left behind when the check has come first.
  aborted.catch(() => undefined);
  const checked = eventually(check, TARGET_MS).catch((error: unknown) => {
    throw new Error(`There was ${what} in ${TARGET_MS / 1_000} s`, { cause: error });
  });
  try {
    await Promise.race([checked, aborted]);
    signal.throwIfAborted();
  } finally {
    over.abort();
    checked.catch(() => undefined);
  }
}
