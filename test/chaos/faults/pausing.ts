import { setTimeout as delay } from 'node:timers/promises';

/** Lets so much time pass. @throws the signal's reason */
export async function pause(seconds: number, signal: AbortSignal): Promise<void> {
  await delay(seconds * 1_000, undefined, { signal });
}

/** To one decimal place, as the schedule shows it. */
export function rounded(seconds: number): number {
  return Math.round(seconds * 10) / 10;
}
