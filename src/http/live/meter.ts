export interface MeterOptions {
  /** How many may come at once. */
  readonly burst: number;
  /** How many a second are allowed in the long run. */
  readonly perSecond: number;
}

/** A token bucket. @param now milliseconds, of any clock that does not run backwards */
export function createMeter({ burst, perSecond }: MeterOptions, now = () => performance.now()) {
  let left = burst;
  let at = now();
  return {
    /** @returns whether one more is allowed */
    take(): boolean {
      const time = now();
      left = Math.min(burst, left + ((time - at) / 1_000) * perSecond);
      at = time;
      if (left < 1) return false;
      left--;
      return true;
    },
  };
}
