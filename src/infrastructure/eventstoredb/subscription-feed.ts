import type { Readable } from 'node:stream';
import { START as FROM_START, streamNameFilter } from '@eventstore/db-client';
import type { AllStreamRecordedEvent, EventStoreDBClient } from '@eventstore/db-client';
import { START } from '../../events/event-store.ts';
import type { Position, PositionedEvent } from '../../events/event-store.ts';
import type { Logger } from '../../logger.ts';
import { LEADER, release } from './client.ts';
import { toPositioned } from './event-store-reads.ts';

/** Most bytes of events in one batch; a batch always has room for one event. */
const BATCH_BYTES = 8 * 1024 * 1024;
/** Events the client holds ready; as many again may wait for its parser, and 64 KiB in the connection. */
const BUFFERED_EVENTS = 16;
/** The server reports how far it has looked after 32 times as many events that were not asked for. */
const CHECKPOINT_INTERVAL = 4;

export interface FeedOptions {
  /** Exclusive. */
  readonly after: Position;
  readonly prefixes: readonly string[];
  readonly wants: Wants;
  /** Most events of one batch. */
  readonly batchSize: number;
  readonly logger: Logger;
}

/** One server-side subscription: what has arrived is taken when the consumer wants it, and nothing runs ahead of that. */
export interface Feed {
  /** The batch so far. */
  readonly batch: readonly PositionedEvent[];
  /** The batch has no room for more. */
  readonly full: boolean;
  /** Everything wanted up to here has been put into a batch. Says all there is to say when {@link fill} found nothing. */
  readonly seen: Position;
  /** The server says that the backlog is over; not all versions do. */
  readonly live: boolean;
  /** Moves what has arrived into the batch. @returns whether there was anything @throws when the server dropped us */
  fill(): boolean;
  /** Hands the batch over and begins the next. */
  take(): readonly PositionedEvent[];
  /** Resolves when something may have changed, after some milliseconds, or on the signal. @returns whether it was a change */
  changed(milliseconds: number, signal: AbortSignal): Promise<boolean>;
  close(): void;
}

/** Whether an event goes to the subscriber. */
export type Wants = (event: AllStreamRecordedEvent) => boolean;

/** What a subscriber to these prefixes wants of streams that we own. System events are none of anybody's business here. */
export function wantsOf(prefixes: readonly string[], owns: (stream: string) => boolean): Wants {
  return ({ streamId, type }) => {
    if (streamId.startsWith('$') || type.startsWith('$')) return false;
    if (prefixes.length > 0 && !prefixes.some((prefix) => streamId.startsWith(prefix))) return false;
    return owns(streamId);
  };
}

export function openFeed(client: EventStoreDBClient, options: FeedOptions): Feed {
  const { after, prefixes, wants, batchSize, logger } = options;
  let batch: PositionedEvent[] = [];
  let bytes = 0;
  let seen = after;
  /** What the server has looked at. Valid only once everything that arrived before it has been taken. */
  let checkpoint = after;
  let failure: Error | null = null;
  let ended = false;
  let live = false;
  let beats = 0;
  let looked = -1;
  let wake = (): void => undefined;
  const beat = (): void => {
    beats++;
    wake();
  };

  const subscription = client.subscribeToAll(
    {
      ...LEADER,
      fromPosition: after === START ? FROM_START : { commit: after, prepare: after },
      ...(prefixes.length > 0 && {
        filter: streamNameFilter({
          prefixes: [...prefixes],
          checkpointInterval: CHECKPOINT_INTERVAL,
          // Comes when the message is parsed, ahead of the events that wait in the buffer. It must not throw or reject: the
          // subscription would stand still for ever. Where commit and prepare differ it is no event's position but
          // points at the one to come, and resuming behind it would lose that.
          checkpointReached(_, { commit, prepare }) {
            if (commit === prepare && commit > 0n) checkpoint = commit;
            beat();
          },
        }),
      }),
    },
    { highWaterMark: BUFFERED_EVENTS },
  );
  subscription.on('error', (error) => {
    failure ??= error;
    beat();
  });
  subscription.on('end', () => {
    ended = true;
    beat();
  });
  subscription.on('readable', beat);
  subscription.on('caughtUp', () => {
    live = true;
    beat();
  });

  /** A function, so that the compiler does not assume what a listener may have changed. */
  const isFull = (): boolean => batch.length >= batchSize || bytes >= BATCH_BYTES;
  const dropped = (): Error | null =>
    failure ?? (ended ? new Error('The server ended the subscription') : null);

  return {
    get batch() {
      return batch;
    },
    get full() {
      return isFull();
    },
    get seen() {
      return seen;
    },
    get live() {
      return live;
    },
    fill() {
      looked = beats;
      let found = false;
      while (!isFull()) {
        const resolved = subscription.read() as { event?: AllStreamRecordedEvent } | null;
        if (resolved === null) {
          if (checkpoint > seen) seen = checkpoint;
          // What had arrived before the drop is used first, so that a server that drops us often still gets us on.
          const error = found || batch.length > 0 ? null : dropped();
          if (error) throw error;
          return found;
        }
        found = true;
        // A link to an event that is gone resolves to nothing.
        const { event } = resolved;
        if (!event || event.position.commit <= seen) continue;
        seen = event.position.commit;
        if (!wants(event)) {
          logger.debug({ stream: event.streamId, id: event.id }, 'Passed over an event that is not ours');
          continue;
        }
        batch.push(toPositioned(event));
        bytes += JSON.stringify(event.data).length;
      }
      return found;
    },
    take() {
      const taken = batch;
      batch = [];
      bytes = 0;
      return taken;
    },
    changed(milliseconds, signal) {
      if (looked !== beats || signal.aborted) return Promise.resolve(true);
      return new Promise((resolve) => {
        const done = (change: boolean): void => {
          clearTimeout(timer);
          signal.removeEventListener('abort', wake);
          wake = () => undefined;
          resolve(change);
        };
        const timer = setTimeout(() => done(false), milliseconds);
        wake = () => done(true);
        signal.addEventListener('abort', wake, { once: true });
      });
    },
    close() {
      release(subscription as unknown as Readable, () => subscription.unsubscribe());
    },
  };
}
