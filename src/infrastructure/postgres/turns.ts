/** So many times in a row at once, then once in so many milliseconds. */
export interface Pace {
  readonly burst: number;
  readonly everyMs: number;
}

/** Gives out turns at a pace. What is not used of it is saved up to a burst. */
export interface Turns {
  /** @returns milliseconds until the next turn; 0 when it has been taken */
  take(): number;
}

export function createTurns({ burst, everyMs }: Pace): Turns {
  /** When all that was taken will have been paid for. */
  let paid = performance.now();
  return {
    take() {
      const now = performance.now();
      const after = Math.max(paid, now) + everyMs;
      const early = after - now - burst * everyMs;
      if (early > 0) return early;
      paid = after;
      return 0;
    },
  };
}
