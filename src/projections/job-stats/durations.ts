/** Buckets that each power of two is cut into: a duration is known to 1 part in 16, its bucket's middle to 1 in 32. */
const STEPS = 16;

/**
 * The bucket that a duration belongs to. Whole numbers only, so that every machine counts alike: up to 31 ms each has a
 * bucket of its own, beyond that a bucket holds what agrees in its five highest binary digits.
 * @param ms whole milliseconds, not negative
 */
export function bucketOf(ms: number): number {
  let digits = ms;
  let halvings = 0;
  for (; digits >= 2 * STEPS; digits = Math.floor(digits / 2)) halvings++;
  return halvings * STEPS + digits;
}

/** The duration that stands for a bucket: its middle, at most 1/32 away from anything in it. Whole milliseconds. */
export function middleOf(bucket: number): number {
  if (bucket < 2 * STEPS) return bucket;
  const halvings = Math.floor(bucket / STEPS) - 1;
  const width = 2 ** halvings;
  return (bucket - halvings * STEPS) * width + Math.floor((width - 1) / 2);
}

/** How many durations each bucket holds, lowest bucket first. */
export type Histogram = readonly (readonly [bucket: number, count: number])[];

/** @returns rounded to whole milliseconds; null of none */
export function meanOf(count: number, totalMs: bigint): number | null {
  return count === 0 ? null : Number((2n * totalMs + BigInt(count)) / BigInt(2 * count));
}

/**
 * The duration that 95 of 100 do not exceed (the nearest rank), as exact as its bucket.
 * @returns whole milliseconds; null of none
 */
export function p95Of(histogram: Histogram): number | null {
  const rank = Math.ceil((histogram.reduce((sum, [, count]) => sum + count, 0) * 95) / 100);
  let passed = 0;
  for (const [bucket, count] of histogram) {
    passed += count;
    if (passed >= rank) return middleOf(bucket);
  }
  return null;
}

/**
 * Many durations as their number, their sum, and a histogram. Adding is all that happens to it and is done in integers: in
 * whatever order and portions durations come in, the same ones amount to the same.
 */
export class Durations {
  count = 0;
  totalMs = 0n;
  readonly #buckets = new Map<number, number>();
  #histogram: Histogram | null = null;

  /** @param ms whole milliseconds, not negative */
  add(ms: number): void {
    this.addStored(1, BigInt(ms), [[bucketOf(ms), 1]]);
  }

  addStored(count: number, totalMs: bigint, histogram: Histogram): void {
    this.count += count;
    this.totalMs += totalMs;
    this.#histogram = null;
    for (const [bucket, more] of histogram)
      this.#buckets.set(bucket, (this.#buckets.get(bucket) ?? 0) + more);
  }

  get histogram(): Histogram {
    return (this.#histogram ??= [...this.#buckets].sort(([a], [b]) => a - b));
  }
}
