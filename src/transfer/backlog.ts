import type { EventStore, Position, PositionedEvent } from '../events/event-store.ts';

export interface BacklogOptions {
  /** Exclusive. */
  readonly after: Position;
  /** Inclusive: what is written behind it meanwhile is left out. */
  readonly upTo: Position;
  readonly prefixes: readonly string[];
  readonly signal: AbortSignal;
  /** Most events in one batch; default: the store's. */
  readonly batchSize?: number;
}

/** The events between two positions, in order, in batches. @throws the signal's reason when it aborts */
export async function* backlog(
  store: EventStore,
  { upTo, ...options }: BacklogOptions,
): AsyncGenerator<readonly PositionedEvent[], void, void> {
  if (upTo <= options.after) return;
  for await (const message of store.subscribe(options)) {
    if (message.kind === 'caught-up') return;
    const { events } = message;
    const wanted = events.filter(({ position }) => position <= upTo);
    if (wanted.length > 0) yield wanted;
    if (wanted.length < events.length || wanted.at(-1)?.position === upTo) return;
  }
  options.signal.throwIfAborted();
}

export interface Cursor {
  /** null at the end. */
  next(): Promise<PositionedEvent | null>;
  close(): Promise<void>;
}

/** Events one by one instead of in batches. */
export function cursorOver(batches: AsyncGenerator<readonly PositionedEvent[], void, void>): Cursor {
  let batch: readonly PositionedEvent[] = [];
  let taken = 0;
  return {
    async next() {
      while (taken === batch.length) {
        const result = await batches.next();
        if (result.done) return null;
        batch = result.value;
        taken = 0;
      }
      return batch[taken++] ?? null;
    },
    async close() {
      await batches.return();
    },
  };
}
