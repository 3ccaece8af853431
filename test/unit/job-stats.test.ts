import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { JobEvent } from '../../src/events/job.ts';
import { bucketOf, Durations, meanOf, middleOf, p95Of } from '../../src/projections/job-stats/durations.ts';
import { tallyEvent } from '../../src/projections/job-stats/tally.ts';
import type { CountedJob, Tally } from '../../src/projections/job-stats/tally.ts';
import { events } from '../support/job-spec.ts';

const milliseconds = fc.oneof(
  fc.nat(200),
  fc.nat(100_000),
  fc.maxSafeNat(),
  fc.nat(53).map((exponent) => Math.max(0, 2 ** exponent - 1)),
  fc.nat(52).map((exponent) => 2 ** exponent),
);

describe('the buckets of durations', () => {
  it('are one a millisecond up to 31 ms, then 16 for each power of two', () => {
    for (let ms = 0; ms < 32; ms++) expect([bucketOf(ms), middleOf(ms)]).toEqual([ms, ms]);
    expect([32, 33, 34, 63, 64, 67, 68].map(bucketOf)).toEqual([32, 32, 33, 47, 48, 48, 49]);
    expect([32, 33, 47, 48, 49].map(middleOf)).toEqual([32, 34, 62, 65, 69]);
    expect(bucketOf(Number.MAX_SAFE_INTEGER)).toBeLessThan(32_767);
  });

  it('are in the order of what they hold, and their middles at most 1/32 away from it', () => {
    fc.assert(
      fc.property(milliseconds, milliseconds, (a, b) => {
        if (a <= b) expect(bucketOf(a)).toBeLessThanOrEqual(bucketOf(b));
        expect(Math.abs(middleOf(bucketOf(a)) - a)).toBeLessThanOrEqual(a / 32);
        expect(bucketOf(middleOf(bucketOf(a)))).toBe(bucketOf(a));
      }),
    );
  });
});

describe('many durations', () => {
  it('amount to the same in whatever portions they come', () => {
    fc.assert(
      fc.property(fc.array(fc.array(milliseconds)), (portions) => {
        const whole = new Durations();
        for (const ms of portions.flat().reverse()) whole.add(ms);
        const merged = new Durations();
        for (const portion of portions) {
          const part = new Durations();
          for (const ms of portion) part.add(ms);
          merged.addStored(part.count, part.totalMs, part.histogram);
        }
        expect(merged.count).toBe(portions.flat().length);
        expect([merged.count, merged.totalMs, merged.histogram]).toEqual([
          whole.count,
          whole.totalMs,
          whole.histogram,
        ]);
      }),
    );
  });

  it('have a mean in whole milliseconds, halves rounded up, however large their sum', () => {
    expect(meanOf(0, 0n)).toBeNull();
    expect(meanOf(3, 10n)).toBe(3);
    expect(meanOf(2, 3n)).toBe(2);
    expect(meanOf(1_000_000, 9_007_199_254_740_991_000_000n)).toBe(Number.MAX_SAFE_INTEGER);
  });

  it('have as their p95 the nearest rank', () => {
    expect(p95Of([])).toBeNull();
    expect(p95Of([[7, 1]])).toBe(7);
    const oneToTwenty = Array.from({ length: 20 }, (_, index) => [index + 1, 1] as const);
    expect(p95Of(oneToTwenty)).toBe(19);
    expect(p95Of([...oneToTwenty, [21, 1]])).toBe(20);
    expect(
      p95Of([
        [1, 95],
        [30, 5],
      ]),
    ).toBe(1);
    expect(
      p95Of([
        [1, 94],
        [30, 6],
      ]),
    ).toBe(30);
  });
});

/** What each event of a job adds; times are milliseconds since its creation at 1,000,000. */
function counted(...story: readonly (readonly [at: number, event: JobEvent])[]): Omit<Tally, 'job'>[] {
  let job: CountedJob | null = null;
  return story.map(([at, event]) => {
    const { job: next, ...added }: Tally = tallyEvent(job, event, 1_000_000 + at);
    job = next;
    return added;
  });
}

const iso = (at: number): string => new Date(1_000_000 + at).toISOString();

describe('what is counted of a job', () => {
  it('that goes well: its wait from its creation, its run from its start', () => {
    expect(counted([0, events.created()], [70, events.started(1)], [2_070, events.completed(1)])).toEqual([
      { count: 'created' },
      { waitMs: 70 },
      { count: 'done', runMs: 2_000 },
    ]);
  });

  it('that is put off: the wait begins when it is due', () => {
    const created = events.created({ runAt: iso(60_000) });
    expect(counted([0, created], [60_005, events.started(1)])[1]).toEqual({ waitMs: 5 });
    const past = events.created({ runAt: iso(-60_000) });
    expect(counted([0, past], [5, events.started(1)])[1]).toEqual({ waitMs: 5 });
  });

  it('that needs several attempts: each has a run, and a wait from when it is due', () => {
    expect(
      counted(
        [0, events.created()],
        [10, events.started(1)],
        [110, events.attemptFailed(1, { retryAt: iso(1_110) })],
        [1_130, events.started(2, { attempt: 2 })],
        [1_430, events.failed(2, { attempt: 2 })],
      ),
    ).toEqual([
      { count: 'created' },
      { waitMs: 10 },
      { runMs: 100 },
      { waitMs: 20 },
      { count: 'failed', runMs: 300 },
    ]);
  });

  it('that is handed back: it waits once more, and the run that was cut off does not count', () => {
    expect(
      counted(
        [0, events.created()],
        [10, events.started(1)],
        [50, events.released(1)],
        [80, events.started(2)],
        [180, events.completed(2)],
      ),
    ).toEqual([{ count: 'created' }, { waitMs: 10 }, {}, { waitMs: 30 }, { count: 'done', runMs: 100 }]);
  });

  it('that is taken over from a dead worker: no second wait, and the run of the one that ended it', () => {
    expect(
      counted(
        [0, events.created()],
        [10, events.started(1)],
        [12_010, events.started(2, { supersedes: '0196e7d2-0000-7000-8000-000000000101' })],
        [12_110, events.completed(2)],
      ),
    ).toEqual([{ count: 'created' }, { waitMs: 10 }, {}, { count: 'done', runMs: 100 }]);
  });

  it('that is cancelled before it starts, and submitted again', () => {
    expect(
      counted(
        [0, events.created()],
        [10, events.cancelled()],
        [5_000, events.retried(2)],
        [5_004, events.started(1, { round: 2 })],
      ),
    ).toEqual([{ count: 'created' }, { count: 'cancelled' }, { count: 'retried' }, { waitMs: 4 }]);
  });

  it('that is cancelled while it runs: the run that was cut off does not count', () => {
    expect(
      counted(
        [0, events.created()],
        [10, events.started(1)],
        [20, events.cancelRequested(1)],
        [30, events.cancelled()],
      ),
    ).toEqual([{ count: 'created' }, { waitMs: 10 }, {}, { count: 'cancelled' }]);
  });

  it('never as less than nothing, whatever the clocks say', () => {
    expect(
      counted([0, events.created({ runAt: iso(500) })], [400, events.started(1)], [300, events.completed(1)]),
    ).toEqual([{ count: 'created' }, { waitMs: 0 }, { count: 'done', runMs: 0 }]);
  });

  it('refuses a stream without its beginning', () => {
    expect(() => counted([0, events.started(1)])).toThrow('JobStarted of a job that was never created');
  });
});
