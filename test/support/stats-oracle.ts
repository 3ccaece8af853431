import { expect } from 'vitest';
import { decodeEvent } from '../../src/events/codec.ts';
import type { DomainEvent } from '../../src/events/codec.ts';
import type { PositionedEvent } from '../../src/events/event-store.ts';
import type { JobFigures, JobStats } from '../../src/queries/job-stats.ts';

/** What happened to jobs, with every single duration in milliseconds. */
interface Happened {
  readonly created: number;
  readonly done: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly retried: number;
  readonly waits: readonly number[];
  readonly runs: readonly number[];
}

interface Moment {
  readonly event: DomainEvent;
  readonly at: number;
}

/**
 * What the events say of a user's jobs, by day and type: looked up from each event backwards in its stream, without any state
 * carried along, and so in another way than the projection does it.
 */
export function statsByHand(
  events: readonly PositionedEvent[],
  wanted: { userId: string; from: string; to: string; type: string | null },
): { totals: Happened; days: (Happened & { day: string; type: string })[] } {
  const streams = new Map<string, PositionedEvent[]>();
  for (const event of events) {
    if (!event.stream.startsWith('job-')) continue;
    streams.set(event.stream, [...(streams.get(event.stream) ?? []), event]);
  }
  const found = [...streams.values()].flatMap((stream) => {
    const moments = stream.map((recorded): Moment => ({
      event: decodeEvent(recorded),
      at: Date.parse(recorded.metadata.occurredAt),
    }));
    const [first] = moments;
    if (first?.event.type !== 'JobCreated') throw new Error('A stream without its beginning');
    const { userId, type } = first.event.data;
    if (userId !== wanted.userId || (wanted.type !== null && type !== wanted.type)) return [];
    return moments.map((moment, index) => {
      const day = new Date(moment.at).toISOString().slice(0, 10);
      const before = moments.slice(0, index).reverse();
      return { day, type, name: moment.event.type, wait: waitOf(moment, before), run: runOf(moment, before) };
    });
  });
  const within = found.filter(({ day }) => day >= wanted.from && day <= wanted.to);
  const sum = (some: typeof within): Happened => ({
    created: some.filter(({ name }) => name === 'JobCreated').length,
    done: some.filter(({ name }) => name === 'JobCompleted').length,
    failed: some.filter(({ name }) => name === 'JobFailed').length,
    cancelled: some.filter(({ name }) => name === 'JobCancelled').length,
    retried: some.filter(({ name }) => name === 'JobRetried').length,
    waits: some.flatMap(({ wait }) => wait ?? []),
    runs: some.flatMap(({ run }) => run ?? []),
  });
  const keys = new Set(
    within
      .filter(
        ({ name, wait, run }) =>
          wait !== null ||
          run !== null ||
          ['JobCreated', 'JobCompleted', 'JobFailed', 'JobCancelled', 'JobRetried'].includes(name),
      )
      .map(({ day, type }) => `${day} ${type}`),
  );
  const days = [...keys].sort().map((key) => {
    const [day, type] = [key.slice(0, 10), key.slice(11)];
    return { day, type, ...sum(within.filter((one) => one.day === day && one.type === type)) };
  });
  return { totals: sum(within), days };
}

function waitOf({ event, at }: Moment, before: readonly Moment[]): number | null {
  if (event.type !== 'JobStarted' || event.data.supersedes !== null) return null;
  const queued = before.find(({ event: { type } }) =>
    ['JobCreated', 'JobReleased', 'JobAttemptFailed', 'JobRetried'].includes(type),
  );
  if (!queued) throw new Error('Started without having been queued');
  const notBefore =
    queued.event.type === 'JobCreated'
      ? queued.event.data.runAt
      : queued.event.type === 'JobAttemptFailed'
        ? queued.event.data.retryAt
        : null;
  const due = notBefore === null ? queued.at : Math.max(queued.at, Date.parse(notBefore));
  return Math.max(0, at - due);
}

function runOf({ event, at }: Moment, before: readonly Moment[]): number | null {
  if (!['JobCompleted', 'JobFailed', 'JobAttemptFailed'].includes(event.type)) return null;
  const started = before.find((moment) => moment.event.type === 'JobStarted');
  if (!started) throw new Error('Ended without having been started');
  return Math.max(0, at - started.at);
}

/** Holds an answer to what the events say: numbers and means exactly, p95 as exactly as is promised. */
export function expectStats(
  { totals, days }: Pick<JobStats, 'totals' | 'days'>,
  byHand: ReturnType<typeof statsByHand>,
): void {
  expect(days.map(({ day, type }) => `${day} ${type}`)).toEqual(
    byHand.days.map(({ day, type }) => `${day} ${type}`),
  );
  expectFigures(totals, byHand.totals);
  for (const [index, figures] of days.entries()) expectFigures(figures, byHand.days[index]!);
}

function expectFigures({ wait, run, ...counts }: JobFigures, { waits, runs, ...expected }: Happened): void {
  expect(counts).toEqual(expected);
  for (const [figures, all] of [
    [wait, waits],
    [run, runs],
  ] as const) {
    const sorted = [...all].sort((a, b) => a - b);
    const mean = sorted.length === 0 ? null : sorted.reduce((sum, ms) => sum + ms, 0) / sorted.length;
    expect(figures.count).toBe(sorted.length);
    expect(figures.meanMs).toBe(mean === null ? null : Math.round(mean));
    const p95 = sorted[Math.ceil(0.95 * sorted.length) - 1] ?? null;
    if (p95 === null || p95 < 32) expect(figures.p95Ms).toBe(p95);
    else expect(Math.abs((figures.p95Ms ?? Number.NaN) - p95)).toBeLessThanOrEqual(p95 / 32);
  }
}
