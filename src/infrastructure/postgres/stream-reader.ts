import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Queryable } from '../../database.ts';
import type { ReadOptions, RecordedEvent } from '../../events/event-store.ts';
import { readStreamPage, readStreamPages } from './event-store-pages.ts';
import type { StreamPageRequest } from './event-store-pages.ts';

export type ReadStream = (stream: string, options?: ReadOptions) => Promise<RecordedEvent[]>;

interface Waiting extends StreamPageRequest {
  readonly resolve: (events: RecordedEvent[]) => void;
  readonly reject: (error: unknown) => void;
}

/** Statements under way at a time; what is asked for meanwhile goes together in the next. */
const LANES = 2;
/** Most streams of one statement: its answer is held in memory as a whole. */
const BATCH = 50;
/** Pages that hold more are read alone: nobody shall wait for another's long stream. */
const LONG_PAGE = 500;

/**
 * Reads streams, those that are asked for at the same time in one statement: most are short, and what a statement costs is the way to
 * Postgres and back.
 * @returns see `EventStore.read`
 */
export function createStreamReader(database: Queryable): ReadStream {
  let waiting: Waiting[] = [];
  let lanes = 0;

  async function drain(): Promise<void> {
    // Everyone who asks in this same turn joins.
    await nextTurn();
    while (waiting.length > 0) {
      const batch = waiting.slice(0, BATCH);
      waiting = waiting.slice(BATCH);
      try {
        const pages = await readStreamPages(database, batch);
        batch.forEach(({ resolve }, i) => resolve(pages[i] ?? []));
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    lanes--;
  }

  return (stream, options = {}) => {
    const { from = 0, direction = 'forwards', limit = LONG_PAGE } = options;
    if (direction === 'backwards' || limit > LONG_PAGE) return readStreamPage(database, stream, options);
    return new Promise((resolve, reject) => {
      waiting.push({ stream, from, limit, resolve, reject });
      if (lanes === LANES) return;
      lanes++;
      void drain();
    });
  };
}
