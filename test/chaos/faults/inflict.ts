import { errorMessage } from '../../../src/errors.ts';
import type { Fault } from './fault.ts';
import { pause, rounded } from './pausing.ts';
import type { Scheduled } from './schedule.ts';

/** What became of a fault. */
export interface Inflicted {
  readonly kind: string;
  /** What was struck in the end. */
  readonly target: string;
  /** Seconds since the load began. */
  readonly at: number;
  /** Why it could not be applied; null when it was. */
  readonly failure: string | null;
}

/** How late a fault may come, in seconds. After that nothing works any more, and the rest of the schedule need not be waited for. */
const MOST_LATE = 240;
/** A fault that met nobody, since other faults had struck its target down, is tried again. */
const TRIES = 3;
const BETWEEN_TRIES = 5;

/** Carries a schedule out. Faults overlap, unless they strike at the same thing. @throws the signal's reason */
export async function inflictAll(
  schedule: readonly Scheduled[],
  signal: AbortSignal,
  told: (inflicted: Inflicted) => void,
): Promise<Inflicted[]> {
  const began = performance.now();
  const elapsed = (): number => (performance.now() - began) / 1_000;
  const held = new Map<string, Promise<unknown>>();

  async function inflict({ fault, at: planned }: Scheduled): Promise<Inflicted> {
    signal.throwIfAborted();
    const { kind } = fault;
    let { target } = fault;
    const at = rounded(elapsed());
    const failure =
      at - planned > MOST_LATE
        ? 'it came too late, since those before it took too long'
        : await applied(fault, signal, (name) => (target = name));
    const inflicted = { kind, target, at, failure };
    told(inflicted);
    return inflicted;
  }

  const all = schedule.map(async (scheduled) => {
    await pause(Math.max(0, scheduled.at - elapsed()), signal);
    const { holds } = scheduled.fault;
    const turn = (held.get(holds) ?? Promise.resolve()).then(() => inflict(scheduled));
    held.set(
      holds,
      turn.catch(() => undefined),
    );
    return turn;
  });
  return Promise.all(all);
}

/** @returns why it could not be applied; null when it was */
async function applied(
  fault: Fault,
  signal: AbortSignal,
  struck: (target: string) => void,
): Promise<string | null> {
  for (let tries = 1; ; tries++) {
    try {
      await fault.inflict(signal, struck);
      return null;
    } catch (error) {
      signal.throwIfAborted();
      if (tries === TRIES) return errorMessage(error);
      await pause(BETWEEN_TRIES, signal);
    }
  }
}
