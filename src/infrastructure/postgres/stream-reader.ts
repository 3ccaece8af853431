import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Queryable } from '../../database.ts';
import { UnavailableError } from '../../errors.ts';
import type { ReadOptions, RecordedEvent } from '../../events/event-store.ts';
import { readStreamPage, readStreamPages } from './event-store-pages.ts';
import type { StreamPageRequest } from './event-store-pages.ts';
import { within } from '../../waiting.ts';

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
 * @param patience milliseconds after which a read is given up, its wait for those before it included; default: none of its own
 * @returns see `EventStore.read`
 */
export function createStreamReader(database: Queryable, patience?: number): ReadStream {
  const waiting = new Set<Waiting>();
  let lanes = 0;

  function takeBatch(): Waiting[] {
    const batch = [...waiting].slice(0, BATCH);
    for (const each of batch) waiting.delete(each);
    return batch;
  }

  async function drain(): Promise<void> {
    // Everyone who asks in this same turn joins.
    await nextTurn();
    while (waiting.size > 0) {
      const batch = takeBatch();
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
    let withdraw!: () => void;
    const answered = new Promise<RecordedEvent[]>((resolve, reject) => {
      const asked = { stream, from, limit, resolve, reject };
      waiting.add(asked);
      withdraw = () => void waiting.delete(asked);
      if (lanes === LANES) return;
      lanes++;
      void drain();
    });
    if (patience === undefined) return answered;
    return within(answered, patience, () => {
      withdraw();
      return new UnavailableError('postgres', 'The event store did not answer a read in time');
    });
  };
}
