import type { Database } from '../../database.ts';
import type { EventStore } from '../../events/event-store.ts';
import type { Logger } from '../../logger.ts';
import { createAppender } from './event-store-appender.ts';
import { encodeAppend } from './event-store-batch.ts';
import { createListener } from './event-store-listener.ts';
import { readHead, readPage } from './event-store-pages.ts';
import { subscribeToPages } from './event-store-subscription.ts';
import { createTail } from './event-store-tail.ts';
import { createStreamReader } from './stream-reader.ts';

export interface PostgresEventStoreOptions {
  /** For the two connections of its own: one appends, one listens. */
  readonly url: string;
  /** The same database, for reading; stays the caller's to close, after the store. */
  readonly database: Database;
  readonly logger: Logger;
  /** Whether subscriptions hand out events of a stream, asked for or not; default all. */
  readonly owns?: (stream: string) => boolean;
  /** Milliseconds for which an append whose outcome is unknown is tried again; default 8 s. */
  readonly patience?: number;
}

export interface PostgresEventStore extends EventStore {
  /**
   * The same store for those whom somebody waits for: an append takes no longer than `patience` milliseconds, and one that was not
   * sent by then is not made. It ends with the store.
   * @param options `database` is the same one under limits of its own, for reading
   */
  impatient(options: { readonly database: Database; readonly patience: number }): EventStore;
}

/** The event store in the schema `eventstore` of a migrated database. Opens no connection before it is used. */
export function createPostgresEventStore(options: PostgresEventStoreOptions): PostgresEventStore {
  const { url, database, logger, owns = () => true, ...timing } = options;
  const listener = createListener({ url, logger });
  const appender = createAppender({ url, logger, committed: () => listener.appended(), ...timing });
  const { pulse } = listener;
  const readLog = createTail((request) => readPage(database, request), pulse);
  const closing = new AbortController();
  let closed: Promise<void> | null = null;
  const append =
    (patience?: number): EventStore['append'] =>
    async (stream, events, { expected }) =>
      appender.append(encodeAppend(stream, events, expected), patience);
  const store: EventStore = {
    append: append(),
    read: createStreamReader(database),
    subscribe(options) {
      listener.listen();
      const signal = AbortSignal.any([options.signal, closing.signal]);
      return subscribeToPages({ database, readLog, pulse, owns, logger }, { ...options, signal });
    },
    head: () => readHead(database),
    close() {
      return (closed ??= (async () => {
        closing.abort();
        await appender.close();
        await listener.close();
      })());
    },
  };
  return {
    ...store,
    impatient: (view) => ({
      ...store,
      append: append(view.patience),
      read: createStreamReader(view.database, view.patience),
      head: () => readHead(view.database),
    }),
  };
}
