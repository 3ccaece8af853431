import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { rateLimit } from 'express-rate-limit';
import type { Store } from 'express-rate-limit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../../support/waiting.ts';

export interface RateLimitStoresUnderTest {
  /** A store for the limiter of this name, as a process would make it. */
  readonly create: (name: string) => Store;
  dispose(): Promise<void>;
}

/** Hands a store the settings of its limiter, as the middleware does. @param windowMs default: a minute */
export function initialised(store: Store, windowMs = 60_000): Store {
  rateLimit({ windowMs, limit: 10, store, validate: false });
  return store;
}

/** What every place to count requests in has to do. */
export function describeRateLimitStore(name: string, setup: () => Promise<RateLimitStoresUnderTest>): void {
  describe(`rate limit store in ${name}`, () => {
    let subject: RateLimitStoresUnderTest;
    beforeAll(async () => {
      subject = await setup();
    });
    afterAll(() => subject.dispose());
    const create = (windowMs?: number) => initialised(subject.create(randomUUID()), windowMs);

    it('counts a key from one, and says when its time is up', async () => {
      const store = create();
      const before = Date.now();
      const { totalHits, resetTime } = await store.increment('key');
      expect(totalHits).toBe(1);
      expect(resetTime!.getTime()).toBeGreaterThan(before + 59_000);
      expect(resetTime!.getTime()).toBeLessThanOrEqual(Date.now() + 60_000);
      const again = await store.increment('key');
      expect(again.totalHits).toBe(2);
      // A later request does not move the end; the clocks of two machines are only so exact.
      expect(Math.abs(again.resetTime!.getTime() - resetTime!.getTime())).toBeLessThan(500);
    });

    it('counts requests that come together one by one', async () => {
      const store = create();
      const request = async (): Promise<number> => {
        // As requests do, each comes in its own turn of the event loop.
        await setImmediate();
        return (await store.increment('key')).totalHits;
      };
      const hits = await Promise.all(Array.from({ length: 50 }, request));
      hits.sort((a, b) => a - b);
      expect(hits).toEqual(Array.from({ length: 50 }, (_, n) => n + 1));
    });

    it('keeps keys and limiters apart', async () => {
      const [one, other] = [create(), create()];
      await one.increment('a');
      expect(await one.increment('b')).toMatchObject({ totalHits: 1 });
      expect(await other.increment('a')).toMatchObject({ totalHits: 1 });
    });

    it('begins anew when the time is up', async () => {
      const store = create(100);
      await store.increment('key');
      await store.increment('key');
      await eventually(async () => (await store.increment('key')).totalHits === 1);
    });

    it('takes a request back, and forgets a key', async () => {
      const store = create();
      await store.increment('key');
      await store.increment('key');
      await store.decrement('key');
      expect(await store.increment('key')).toMatchObject({ totalHits: 2 });
      await store.resetKey('key');
      expect(await store.increment('key')).toMatchObject({ totalHits: 1 });
    });
  });
}
