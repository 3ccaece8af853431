import type { Queryable } from '../database.ts';
import { AppError } from '../errors.ts';
import type { EventStore, Position } from '../events/event-store.ts';
import { SEAL_INTERVAL } from './chain.ts';
import { occurredAt } from './occurred-at.ts';
import { BEGINNING, loadSeals } from './seals.ts';
import type { ChainPlace, Seal } from './seals.ts';
import { walk } from './walk.ts';

/** An event's number, or a time. */
export type Bound = number | Date;

export interface Range {
  /** Number of the first event. */
  readonly first: number;
  /** Of the last one; null up to the end. `first - 1` when there is none. */
  readonly last: number | null;
}

export interface LocateOptions {
  readonly store: EventStore;
  readonly database: Queryable;
  readonly upTo: Position;
  readonly signal: AbortSignal;
}

export class EmptyRangeError extends AppError {
  constructor(first: number, last: number) {
    super('EMPTY_RANGE', `There is no event from number ${first} to number ${last}`, { first, last });
  }
}

/**
 * The events between two bounds, both inclusive. Clocks of several processes wrote the times, and they do not rise strictly: a
 * range by time begins with the first event that is not older and ends with the last one that is not newer.
 * @throws EmptyRangeError
 */
export async function locate(
  { from, to }: { readonly from: Bound | null; readonly to: Bound | null },
  options: LocateOptions,
): Promise<Range> {
  const first = from instanceof Date ? await firstSince(from, options) : (from ?? 1);
  const last = to instanceof Date ? await lastUntil(to, options) : to;
  if (last === null || last >= first) return { first, last };
  // Two times may well have nothing between them; numbers are either right or wrong.
  if (from instanceof Date || to instanceof Date) return { first, last: first - 1 };
  throw new EmptyRangeError(first, last);
}

/** The first event that occurred at a time or later; the number behind the last one when there is none. */
async function firstSince(time: Date, options: LocateOptions): Promise<number> {
  let start = BEGINNING;
  for await (const seal of allSeals(options.database)) {
    if (seal.latest !== null && seal.latest >= time) break;
    start = seal;
  }
  let end = start.events;
  for await (const batch of walk({ ...options, start })) {
    for (const { event, number } of batch) {
      const occurred = occurredAt(event);
      if (occurred !== null && occurred >= time) return number;
      end = number;
    }
  }
  return end + 1;
}

/** The last event that occurred at a time or earlier; 0 when there is none. */
async function lastUntil(time: Date, options: LocateOptions): Promise<number> {
  /** Where the last sealed stretch begins that has such an event, and where the seals end. */
  let candidate: ChainPlace | null = null;
  let previous = BEGINNING;
  for await (const seal of allSeals(options.database)) {
    if (seal.earliest !== null && seal.earliest <= time) candidate = previous;
    previous = seal;
  }
  const unsealed = await lastWithin(previous, null, time, options);
  if (unsealed > 0 || candidate === null) return unsealed;
  return lastWithin(candidate, candidate.events + SEAL_INTERVAL, time, options);
}

async function lastWithin(
  start: ChainPlace,
  end: number | null,
  time: Date,
  options: LocateOptions,
): Promise<number> {
  let last = 0;
  for await (const batch of walk({ ...options, start })) {
    for (const { event, number } of batch) {
      if (end !== null && number > end) return last;
      const occurred = occurredAt(event);
      if (occurred !== null && occurred <= time) last = number;
    }
  }
  return last;
}

const PAGE = 1_000;

async function* allSeals(database: Queryable): AsyncGenerator<Seal> {
  for (let after = 0; ;) {
    const seals = await loadSeals(database, after, after + PAGE * SEAL_INTERVAL);
    yield* seals;
    const last = seals.at(-1);
    if (!last) return;
    after = last.events;
  }
}
