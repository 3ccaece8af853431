import type { EventStore } from '../../events/event-store.ts';
import type { Logger } from '../../logger.ts';
import { openConnection } from './connection.ts';
import { createAppender } from './event-store-appender.ts';
import { readHead, readStreamPage } from './event-store-reads.ts';
import { subscribeToLog } from './event-store-subscription.ts';

export interface EventStoreDbEventStoreOptions {
  /**
   * `esdb://`, `esdb+discover://`, or the same with `kurrentdb`: nodes, TLS and credentials. The user must be allowed to
   * read `$all`.
   */
  readonly url: string;
  readonly logger: Logger;
  /** Whether subscriptions hand out events of a stream, asked for or not; default all. */
  readonly owns?: (stream: string) => boolean;
  /** Milliseconds for which an append whose outcome is unknown is tried again; default 8 s. */
  readonly patience?: number;
  /** See `openConnection`. */
  readonly connectTimeout?: number;
}

export interface EventStoreDbEventStore extends EventStore {
  /**
   * The same store for those whom somebody waits for: no append, read or look at the head takes longer than `patience` milliseconds.
   * An append that was not sent by then is not made. It ends with the store.
   */
  impatient(options: { readonly patience: number }): EventStore;
}

/**
 * The event store in EventStoreDB or KurrentDB. Opens no connection before it is used.
 * @throws StartupError the url is no connection string
 */
export function createEventStoreDbEventStore(options: EventStoreDbEventStoreOptions): EventStoreDbEventStore {
  const { logger, owns = () => true, patience } = options;
  const connection = openConnection(options);
  // A dropped subscription makes the client close its connection; appends and reads shall not notice.
  const feeding = openConnection(options);
  const appender = createAppender({ connection, logger, ...(patience !== undefined && { patience }) });
  const closing = new AbortController();
  let closed: Promise<void> | null = null;
  const store: EventStore = {
    append: (stream, events, { expected }) => appender.append(stream, events, expected),
    read: (stream, page) => readStreamPage(connection, stream, page),
    subscribe(wanted) {
      const signal = AbortSignal.any([wanted.signal, closing.signal]);
      return subscribeToLog({ feeding, reading: connection, owns, logger }, { ...wanted, signal });
    },
    head: () => readHead(connection),
    close() {
      return (closed ??= (async () => {
        closing.abort();
        await appender.close();
        await feeding.close();
        await connection.close();
      })());
    },
  };
  return {
    ...store,
    impatient: ({ patience }) => ({
      ...store,
      append: (stream, events, { expected }) => appender.append(stream, events, expected, patience),
      read: (stream, page) => readStreamPage(connection, stream, page, patience),
      head: () => readHead(connection, patience),
    }),
  };
}
