import fc from 'fast-check';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createPulse } from '../../src/infrastructure/postgres/pulse.ts';
import { createTurns } from '../../src/infrastructure/postgres/turns.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('gives a burst of turns at once, then one at a time, and saves up no more than a burst', () => {
  const turns = createTurns({ burst: 3, everyMs: 10 });
  expect([1, 2, 3, 4].map(() => turns.take())).toEqual([0, 0, 0, 10]);
  vi.advanceTimersByTime(4);
  expect(turns.take()).toBe(6);
  vi.advanceTimersByTime(6);
  expect([1, 2].map(() => turns.take())).toEqual([0, 10]);
  vi.advanceTimersByTime(1_000);
  expect([1, 2, 3, 4].map(() => turns.take())).toEqual([0, 0, 0, 10]);
});

it('wakes whoever waits, at its pace, and nobody twice for the same beat', async () => {
  const pulse = createPulse({ burst: 2, everyMs: 10 });
  const woken: number[] = [];
  const begun = performance.now();
  async function follow(): Promise<void> {
    for (;;) {
      const { beats } = pulse;
      await pulse.wait(beats, 100_000, new AbortController().signal);
      woken.push(performance.now() - begun);
    }
  }
  void follow();
  for (let ms = 0; ms < 50; ms++) {
    pulse.beat();
    await vi.advanceTimersByTimeAsync(1);
  }
  await vi.advanceTimersByTimeAsync(1_000);
  expect(woken).toEqual([0, 1, 10, 20, 30, 40, 50]);
});

it('loses no beat: whoever looked before it is woken after it, also when it came between looking and waiting', async () => {
  const step = fc.record({ beats: fc.nat(3), ms: fc.nat(12) });
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 40 }),
      fc.array(fc.array(fc.nat(8), { minLength: 1 }), { minLength: 1, maxLength: 3 }),
      async (steps, pauses) => {
        const pulse = createPulse({ burst: 2, everyMs: 10 });
        const seen = pauses.map(() => 0);
        const ending = new AbortController();
        const following = pauses.map(async (own, follower) => {
          for (let look = 0; !ending.signal.aborted; look++) {
            const { beats } = pulse;
            seen[follower] = beats;
            await new Promise((resolve) => setTimeout(resolve, own[look % own.length]));
            await pulse.wait(beats, 1_000_000, ending.signal);
          }
        });
        for (const { beats, ms } of steps) {
          for (let n = 0; n < beats; n++) pulse.beat();
          await vi.advanceTimersByTimeAsync(ms);
        }
        await vi.advanceTimersByTimeAsync(50);
        expect(seen).toEqual(pauses.map(() => pulse.beats));
        ending.abort();
        await vi.advanceTimersByTimeAsync(10);
        await Promise.all(following);
      },
    ),
    { numRuns: 100 },
  );
});
