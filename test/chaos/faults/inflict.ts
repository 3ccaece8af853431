import { errorMessage } from '../../../src/errors.ts';
import { pause } from './pausing.ts';
import type { Scheduled } from './schedule.ts';

/** What became of a fault. */
export interface Inflicted {
  readonly kind: string;
  readonly target: string;
  /** Seconds since the load began. */
  readonly at: number;
  /** Why it could not be applied; null when it was. */
  readonly failure: string | null;
}

/** Carries a schedule out, one fault after the other. @throws the signal's reason */
export async function inflictAll(
  schedule: readonly Scheduled[],
  signal: AbortSignal,
  told: (inflicted: Inflicted) => void,
): Promise<Inflicted[]> {
  const began = performance.now();
  const all: Inflicted[] = [];
  for (const { fault, after } of schedule) {
    await pause(after, signal);
    const at = Math.round((performance.now() - began) / 100) / 10;
    const { kind, target } = fault;
    const failure = await fault.inflict(signal).then(
      () => null,
      (error: unknown) => errorMessage(error),
    );
    signal.throwIfAborted();
    const inflicted = { kind, target, at, failure };
    all.push(inflicted);
    told(inflicted);
  }
  return all;
}
