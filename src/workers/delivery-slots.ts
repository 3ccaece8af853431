/** Bounds of what is under way at once: in all, and for each key (a receiver, a user). */
export interface SlotLimits {
  readonly total: number;
  readonly perKey: number;
}

/** Takes and gives back slots; never waits. */
export class DeliverySlots {
  readonly #limits: SlotLimits;
  readonly #taken = new Map<string, number>();
  #total = 0;

  constructor(limits: SlotLimits) {
    this.#limits = limits;
  }

  get full(): boolean {
    return this.#total >= this.#limits.total;
  }

  /** @returns a function that gives the slot back, null when the total or one of the keys has none left */
  take(keys: readonly string[]): (() => void) | null {
    if (this.full || keys.some((key) => this.#count(key) >= this.#limits.perKey)) return null;
    this.#total++;
    for (const key of keys) this.#taken.set(key, this.#count(key) + 1);
    return () => {
      this.#total--;
      for (const key of keys) {
        const left = this.#count(key) - 1;
        if (left > 0) this.#taken.set(key, left);
        else this.#taken.delete(key);
      }
    };
  }

  #count(key: string): number {
    return this.#taken.get(key) ?? 0;
  }
}

/** Soonest and latest that what found no slot comes back, and how far apart such comebacks lie, in milliseconds. */
const SOONEST_MS = 200;
const LATEST_MS = 5_000;
const APART_MS = 25;

/**
 * When those that found no slot are to come back: one after the other, so that however many wait, only so many a second are
 * looked at again.
 */
export class Comebacks {
  #last = 0;

  /** @returns milliseconds to wait */
  next(now: number = performance.now()): number {
    this.#last = Math.min(Math.max(this.#last + APART_MS, now + SOONEST_MS), now + LATEST_MS);
    return this.#last - now;
  }
}
