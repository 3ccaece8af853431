/** Wakes those who wait for something to have happened. A beat between looking and waiting is not missed. */
export interface Pulse {
  /** Beats so far. */
  readonly beats: number;
  beat(): void;
  /** Resolves at once when there was a beat after `since`, else at the next one, after `milliseconds`, or on the signal. */
  wait(since: number, milliseconds: number, signal: AbortSignal): Promise<void>;
}

export function createPulse(): Pulse {
  let beats = 0;
  const waiting = new Set<() => void>();
  return {
    get beats() {
      return beats;
    },
    beat() {
      beats++;
      for (const wake of [...waiting]) wake();
    },
    wait(since, milliseconds, signal) {
      if (since !== beats || signal.aborted) return Promise.resolve();
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
