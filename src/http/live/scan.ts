import { AppError } from '../../errors.ts';
import type { EventStore, Position } from '../../events/event-store.ts';
import type { Logger } from '../../logger.ts';
import type { JobOwners } from './job-owners.ts';
import { LIVE_PREFIXES, liveItem } from './live-feed.ts';
import type { LiveItem } from './live-feed.ts';
import { jobIdOf } from './live-messages.ts';

/** There are more events since the cursor than a client may have read for it. */
export class CursorTooOldError extends AppError {
  constructor(most: number) {
    super(
      'CURSOR_TOO_OLD',
      `More than ${most} events have happened since sinceCursor: go on from the cursor of this message, or read the lists`,
    );
  }
}

export interface ScanOptions {
  readonly after: Position;
  /** Only this user's jobs. */
  readonly userId: string;
  readonly signal: AbortSignal;
  readonly take: (item: LiveItem) => Promise<void>;
  /** Everything up to here has been looked at and taken. Answers whether that is far enough; the scan then ends. */
  readonly reached: (position: Position) => boolean;
}

/** Reads the store for one client. @throws CursorTooOldError UnavailableError */
export type Scan = (options: ScanOptions) => Promise<void>;

export interface ScannerOptions {
  readonly store: EventStore;
  readonly owners: JobOwners;
  readonly logger: Logger;
  /** Events that one scan may look at. */
  readonly maxEvents: number;
  /** Scans at the same time, of one user one; more wait. */
  readonly concurrency: number;
}

const BATCH = 100;

export function createScanner({ store, owners, logger, maxEvents, concurrency }: ScannerOptions): Scan {
  const slots = createSlots(concurrency);
  /** Of those who scan or wait to: whoever comes back on many sockets at once does not take every slot from the others. */
  const ofUsers = new Map<string, { readonly slots: ReturnType<typeof createSlots>; scans: number }>();

  async function inTurn(userId: string, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    const own = ofUsers.get(userId) ?? { slots: createSlots(1), scans: 0 };
    ofUsers.set(userId, own);
    own.scans++;
    const freeOwn = await own.slots.take(signal);
    const free = await slots.take(signal);
    try {
      if (!signal.aborted) await work();
    } finally {
      free();
      freeOwn();
      if (--own.scans === 0) ofUsers.delete(userId);
    }
  }

  async function scan({ after, userId, signal, take, reached }: ScanOptions): Promise<void> {
    const left = new AbortController();
    const options = {
      after,
      prefixes: LIVE_PREFIXES,
      batchSize: BATCH,
      signal: AbortSignal.any([signal, left.signal]),
    };
    let looked = 0;
    try {
      for await (const message of store.subscribe(options)) {
        if (message.kind === 'caught-up') {
          if (reached(message.position)) return;
          continue;
        }
        await owners.prepare(message.events);
        for (const event of message.events) {
          if (signal.aborted || reached(event.position - 1n)) return;
          if (++looked > maxEvents) throw new CursorTooOldError(maxEvents);
          if ((await owners.of(jobIdOf(event))) !== userId) continue;
          const item = liveItem(event, logger);
          if (item !== null) await take(item);
        }
      }
    } finally {
      left.abort();
    }
  }

  return (options) => inTurn(options.userId, options.signal, () => scan(options));
}

/** Lets so many in at a time, in the order they came. */
function createSlots(count: number) {
  let left = count;
  const queue = new Set<() => void>();
  const free = (): void => {
    const [next] = queue;
    if (next) next();
    else left++;
  };
  return {
    /** @returns gives the slot back; on the signal, one that was not had */
    take(signal: AbortSignal): Promise<() => void> {
      if (signal.aborted) return Promise.resolve(() => undefined);
      if (left > 0) {
        left--;
        return Promise.resolve(free);
      }
      return new Promise((resolve) => {
        const leave = (): void => {
          queue.delete(enter);
          resolve(() => undefined);
        };
        const enter = (): void => {
          queue.delete(enter);
          signal.removeEventListener('abort', leave);
          resolve(free);
        };
        queue.add(enter);
        signal.addEventListener('abort', leave, { once: true });
      });
    },
  };
}
