import type { EventStore, Position, PositionedEvent } from '../events/event-store.ts';
import { STREAM_PREFIXES } from '../events/streams.ts';
import { backlog } from '../transfer/backlog.ts';
import { leafHash, linkHash, UnhashableEventError } from './chain.ts';
import { identify, TamperedError } from './finding.ts';
import type { ChainPlace } from './seals.ts';

/** An event with its place in the chain. */
export interface ChainedEvent {
  readonly event: PositionedEvent;
  /** Counts from 1 in the order of the store. */
  readonly number: number;
  readonly leaf: Buffer;
  /** The chain before and after it. */
  readonly before: Buffer;
  readonly after: Buffer;
}

export interface WalkOptions {
  readonly store: EventStore;
  readonly start: ChainPlace;
  /** Inclusive. */
  readonly upTo: Position;
  readonly signal: AbortSignal;
}

/**
 * The events behind a place, chained, in batches.
 * @throws TamperedError an event is no JSON; or the signal's reason
 */
export async function* walk({
  store,
  start,
  upTo,
  signal,
}: WalkOptions): AsyncGenerator<readonly ChainedEvent[], void, void> {
  let { events: number, chain } = start;
  const bounds = { after: start.position, upTo, prefixes: STREAM_PREFIXES, signal };
  for await (const batch of backlog(store, bounds)) {
    const chained: ChainedEvent[] = [];
    for (const event of batch) {
      const leaf = hashed(event, number + 1);
      if (leaf instanceof TamperedError) {
        // Something may be wrong before it.
        if (chained.length > 0) yield chained;
        throw leaf;
      }
      const before = chain;
      chain = linkHash(before, leaf);
      number++;
      chained.push({ event, number, leaf, before, after: chain });
    }
    yield chained;
  }
}

function hashed(event: PositionedEvent, number: number): Buffer | TamperedError {
  try {
    return leafHash(event);
  } catch (error) {
    if (!(error instanceof UnhashableEventError)) throw error;
    const message = `Event ${number} cannot be hashed. ${error.message}`;
    return new TamperedError({ problem: 'unreadable', message, number, ...identify(event) });
  }
}
