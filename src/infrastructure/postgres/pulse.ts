import { createTurns } from './turns.ts';
import type { Pace } from './turns.ts';

/** Wakes those who wait for something to have happened. A beat between looking and waiting is not missed. */
export interface Pulse {
  /** Beats so far. */
  readonly beats: number;
  beat(): void;
  /** Resolves at once when there was a beat after `since`, else at the next one, after `milliseconds`, or on the signal. */
  wait(since: number, milliseconds: number, signal: AbortSignal): Promise<void>;
}

/**
 * @param pace of waking those who wait: it costs more than what there is to do for a single event, and who looks less often finds more
 */
export function createPulse(pace: Pace): Pulse {
  const turns = createTurns(pace);
  let beats = 0;
  /** The beats that somebody has been woken for, or is about to be. */
  let told = 0;
  let held = false;
  const waiting = new Set<() => void>();

  /** Whether it is time to look for what has come since the last turn; when it is not, those who wait are woken in time. */
  function takeTurn(): boolean {
    if (held) return false;
    if (told === beats) return true;
    const early = turns.take();
    if (early > 0) {
      held = true;
      setTimeout(release, early);
      return false;
    }
    told = beats;
    return true;
  }

  function release(): void {
    held = false;
    if (takeTurn()) wakeAll();
  }

  function wakeAll(): void {
    for (const wake of [...waiting]) wake();
  }

  return {
    get beats() {
      return beats;
    },
    beat() {
      beats++;
      if (waiting.size > 0 && takeTurn()) wakeAll();
    },
    wait(since, milliseconds, signal) {
      if (signal.aborted || (since !== beats && takeTurn())) return Promise.resolve();
      return new Promise((resolve) => {
        const wake = (): void => {
          waiting.delete(wake);
          clearTimeout(timer);
          signal.removeEventListener('abort', wake);
          resolve();
        };
        const timer = setTimeout(wake, milliseconds);
        signal.addEventListener('abort', wake, { once: true });
        waiting.add(wake);
      });
    },
  };
}
