import { backoff, isAborted, sleep } from '../waiting.ts';
import { errorMessage } from '../errors.ts';
import { CheckpointAheadError } from '../events/event-store.ts';
import type { EventStore, Position } from '../events/event-store.ts';
import { JOB_PREFIX } from '../events/job.ts';
import type { Logger } from '../logger.ts';
import { startLoop } from '../service.ts';
import type { Service } from '../service.ts';
import type { CacheSink } from './cached-jobs.ts';

export interface CacheFollowerOptions {
  readonly store: EventStore;
  readonly sink: CacheSink;
  readonly logger: Logger;
}

/** How often it is asked where the store ends. */
const PROBE_MS = 250;
const RETRY_MS = { first: 100, most: 5_000 };
/** Probes that may wait for the follower to get there; a later one says more than those left out. */
const MAX_WAITING = 16;

/** Where the store ended at a moment. */
interface Probe {
  readonly at: number;
  readonly head: Position;
}

/**
 * Shows every job event written from now on, by whichever process, to the cache, and vouches for its completeness. An idle
 * subscription looks like one that hangs, so the store is asked where it ends: once the follower has got there, everything
 * written before the question is known.
 * @throws what the event store throws when it cannot be read now
 */
export async function startCacheFollower({ store, sink, logger }: CacheFollowerOptions): Promise<Service> {
  let position = await store.head();
  let waiting: Probe[] = [];

  function settle(): void {
    const reached = waiting.filter(({ head }) => head <= position);
    waiting = waiting.filter(({ head }) => head > position);
    for (const { at } of reached) sink.confirm(at);
  }

  async function follow(signal: AbortSignal): Promise<void> {
    for (let failures = 1; !isAborted(signal); failures++) {
      try {
        for await (const message of store.subscribe({ after: position, prefixes: [JOB_PREFIX], signal })) {
          if (message.kind === 'events') sink.observe(message.events);
          position =
            message.kind === 'events' ? (message.events.at(-1)?.position ?? position) : message.position;
          failures = 0;
          settle();
        }
      } catch (error) {
        if (error instanceof CheckpointAheadError) {
          // The store is not the one that the cache was filled from: nothing is confirmed any more, so nothing is served.
          logger.error({ err: error }, 'The job cache is out of use until the next start');
          return;
        }
        logger.warn({ failures, reason: errorMessage(error) }, 'The job cache cannot follow; trying again');
      }
      await sleep(backoff(failures + 1, RETRY_MS.first, RETRY_MS.most), signal);
    }
  }

  async function probe(signal: AbortSignal): Promise<void> {
    while (!isAborted(signal)) {
      const at = performance.now();
      try {
        const head = await store.head();
        if (waiting.length < MAX_WAITING) waiting.push({ at, head });
        settle();
      } catch (error) {
        logger.debug({ reason: errorMessage(error) }, 'Cannot tell how current the job cache is');
      }
      await sleep(PROBE_MS, signal);
    }
  }

  return startLoop(async (signal) => {
    await Promise.all([follow(signal), probe(signal)]);
  });
}
