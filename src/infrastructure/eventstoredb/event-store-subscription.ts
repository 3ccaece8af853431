import { setImmediate as nextTurn } from 'node:timers/promises';
import { CheckpointAheadError, START } from '../../events/event-store.ts';
import type { Position, SubscribeOptions, SubscriptionMessage } from '../../events/event-store.ts';
import type { Logger } from '../../logger.ts';
import { backoff, isAborted, sleep } from '../../waiting.ts';
import type { Connection } from './connection.ts';
import { describe } from './errors.ts';
import { readAllFrom, readHead, toPositioned } from './event-store-reads.ts';
import { openFeed, wantsOf } from './subscription-feed.ts';
import type { Feed, Wants } from './subscription-feed.ts';

export interface SubscriptionDeps {
  /** For the subscription itself. */
  readonly feeding: Pick<Connection, 'client'>;
  /** For reads: not disturbed by what happens to subscriptions, nor the other way round. */
  readonly reading: Pick<Connection, 'client' | 'gaveUp'>;
  readonly owns: (stream: string) => boolean;
  readonly logger: Logger;
}

const RETRY = { first: 100, most: 5_000 };
/** Milliseconds for which a batch that is not full waits for more: while there is a backlog, and while more keeps coming. */
const GATHER = { backlog: 250, live: 10 };
/** Milliseconds of silence before we look ourselves how far the log has gone: while behind, and at the end. */
const LOOK = { behind: 25, least: 250, most: 500 };
/** Events of one look. */
const LOOK_EVENTS = 256;
/** Milliseconds after which an event that we see in the log but that is not delivered means that the subscription is dead. */
const OVERDUE = 10_000;

interface Place {
  /** Everything wanted up to here has been handed out. */
  position: Position;
  failures: number;
}

/** See `EventStore.subscribe`. */
export async function* subscribeToLog(
  deps: SubscriptionDeps,
  options: SubscribeOptions,
): AsyncGenerator<SubscriptionMessage, void, void> {
  const { after, signal: wanted } = options;
  const { logger } = deps;
  const leaving = new AbortController();
  const signal = AbortSignal.any([wanted, leaving.signal]);
  const place: Place = { position: after, failures: 0 };
  let target: Position | null = null;
  try {
    while (!isAborted(signal)) {
      try {
        if (target === null) {
          target = await unlessAborted(readHead(deps.reading), signal);
          if (target === null) return;
          if (after > target) throw new CheckpointAheadError(after, target);
        }
        yield* follow(deps, { ...options, signal }, place, target);
      } catch (error) {
        if (error instanceof CheckpointAheadError) throw error;
        if (isAborted(signal)) return;
        place.failures++;
        const level = place.failures < 4 ? 'warn' : 'error';
        logger[level](
          { failures: place.failures, reason: describe(error) },
          'Subscription dropped; subscribing again',
        );
        await sleep(backoff(place.failures, RETRY.first, RETRY.most), signal);
      }
    }
  } finally {
    leaving.abort();
  }
}

/** One subscription of the server's, until it drops (throws) or the signal. */
async function* follow(
  deps: SubscriptionDeps,
  { prefixes, batchSize = 500, signal }: SubscribeOptions,
  place: Place,
  target: Position,
): AsyncGenerator<SubscriptionMessage, void, void> {
  const wants = wantsOf(prefixes, deps.owns);
  yield* stepOver(deps, wants, place, signal);
  if (isAborted(signal)) return;
  const { feeding, logger } = deps;
  const feed = openFeed(feeding.client, { after: place.position, prefixes, wants, batchSize, logger });
  /** The backlog is not done, or a mark is due. */
  let behind = true;
  let overdue: Overdue | null = null;
  try {
    while (!isAborted(signal)) {
      const pause = behind ? LOOK.behind : LOOK.least + Math.random() * (LOOK.most - LOOK.least);
      const found = await gather(feed, () => behind && !feed.live && feed.seen < target, signal);
      if (isAborted(signal)) return;
      const last = feed.batch.at(-1);
      if (last) {
        const events = feed.take();
        place.position = last.position;
        place.failures = 0;
        yield { kind: 'events', events };
        continue;
      }
      const moved = feed.seen > place.position;
      if (moved) place.position = feed.seen;
      if (behind ? place.position >= target : moved) {
        behind = false;
        yield { kind: 'caught-up', position: place.position };
        continue;
      }
      if (found || (await feed.changed(pause, signal))) continue;
      const look = await lookAhead(deps, feed, wants, place.position, signal);
      if (look === null || feed.seen > place.position) continue;
      place.failures = 0;
      overdue = check(overdue, look.due);
      const passed = look.passed > place.position;
      if (passed) place.position = look.passed;
      if (look.due === null && look.end && (behind || passed)) {
        behind = false;
        yield { kind: 'caught-up', position: place.position };
      }
    }
  } finally {
    feed.close();
  }
}

/**
 * Servers before 24 start behind the first event at or after the position they are given. When the event that was
 * there has been removed since, that would be one too far; so we look whether it still stands, and take the next one ourselves.
 */
async function* stepOver(
  { reading }: SubscriptionDeps,
  wants: Wants,
  place: Place,
  signal: AbortSignal,
): AsyncGenerator<SubscriptionMessage, void, void> {
  if (place.position === START) return;
  for await (const event of readAllFrom(reading, place.position, 1, signal)) {
    if (event.position.commit === place.position) return;
    place.position = event.position.commit;
    if (wants(event)) yield { kind: 'events', events: [toPositioned(event)] };
  }
}

/** Fills a batch. With a backlog it waits a little for a full one; at the end of the log, what has come goes out. */
async function gather(feed: Feed, backlog: () => boolean, signal: AbortSignal): Promise<boolean> {
  let found = feed.fill();
  if (feed.batch.length === 0) return found;
  const deadline = performance.now() + (backlog() ? GATHER.backlog : GATHER.live);
  while (!feed.full && !isAborted(signal)) {
    const left = deadline - performance.now();
    if (left <= 0) break;
    if (!backlog()) await nextTurn();
    else if (!(await feed.changed(left, signal))) break;
    const more = feed.fill();
    if (!more && !backlog()) break;
    found ||= more;
  }
  return found;
}

interface Look {
  /** Nothing wanted lies between where we are and here. */
  readonly passed: Position;
  /** The first wanted event that has not been delivered yet. */
  readonly due: Position | null;
  /** There is nothing more in the log. */
  readonly end: boolean;
}

/**
 * The server says how far it has looked only every so many events, in older versions not at all at the end of the log, and at
 * times by a position that is no event's. So we look for ourselves when nothing comes. Given up as soon as something does.
 * @returns null when it was given up or failed
 */
async function lookAhead(
  { reading, logger }: SubscriptionDeps,
  feed: Feed,
  wants: Wants,
  from: Position,
  signal: AbortSignal,
): Promise<Look | null> {
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const looking = look(reading, wants, from, either).catch((error: unknown) => {
    logger.debug({ reason: describe(error) }, 'Subscription cannot look ahead');
    return null;
  });
  const arrived = feed.changed(OVERDUE, either).then(() => null);
  const result = await Promise.race([looking, arrived]);
  stop.abort();
  return isAborted(signal) ? null : result;
}

async function look(
  reading: SubscriptionDeps['reading'],
  wants: Wants,
  from: Position,
  signal: AbortSignal,
): Promise<Look | null> {
  let passed = from;
  let count = 0;
  for await (const event of readAllFrom(reading, from, LOOK_EVENTS, signal)) {
    count++;
    const { commit, prepare } = event.position;
    if (commit <= from) continue;
    if (wants(event)) return { passed, due: commit, end: false };
    // Part of an old transaction: its commit position is no event's, see `toPositioned`.
    if (commit === prepare) passed = commit;
  }
  return isAborted(signal) ? null : { passed, due: null, end: count < LOOK_EVENTS };
}

interface Overdue {
  readonly position: Position;
  readonly since: number;
}

function check(before: Overdue | null, due: Position | null): Overdue | null {
  if (due === null) return null;
  if (before?.position !== due) return { position: due, since: performance.now() };
  if (performance.now() - before.since > OVERDUE) {
    throw new Error('The server does not deliver what stands in the log');
  }
  return before;
}

/** The result, or null as soon as the signal aborts; the read then ends on its own. */
function unlessAborted<T>(read: Promise<T>, signal: AbortSignal): Promise<T | null> {
  return new Promise((resolve, reject) => {
    const abort = (): void => resolve(null);
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
    read.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
