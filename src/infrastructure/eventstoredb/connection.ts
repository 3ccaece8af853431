import type { EventStoreDBClient } from '@eventstore/db-client';
import type { Logger } from '../../logger.ts';
import { closeClient, createClient } from './client.ts';

/** A client that is replaced when its connection does not come about. */
export interface Connection {
  /** The one of now: to be asked for anew for each call. */
  readonly client: EventStoreDBClient;
  /**
   * Whether a client has been given up. Its calls are cancelled then, and the client lets a read that is cancelled end as if it had
   * come to its end: there may be more.
   */
  gaveUp(client: EventStoreDBClient): boolean;
  close(): Promise<void>;
}

export interface ConnectionOptions {
  readonly url: string;
  readonly logger: Logger;
  /** Milliseconds for a connection to come about; twice as many each time that it did not. Default: 5,000. */
  readonly connectTimeout?: number;
}

/** What we use of the gRPC channel, which the client makes and keeps to itself. */
interface Channel {
  getConnectivityState(connect: boolean): number;
  close(): void;
}

/** https://grpc.github.io/grpc/core/md_doc_connectivity-semantics-and-api.html, as `@grpc/grpc-js` numbers them. */
const CONNECTING = 1;
const READY = 2;

const CONNECT_TIMEOUT = { first: 5_000, most: 60_000 };

/**
 * gRPC waits for ever for the first word of whoever has taken its connection, and lets every call wait for that: behind a firewall
 * that swallows packets, or before a server that hangs, it would never try again. So whatever is still connecting after some seconds
 * is given up with all its calls, which fail as they do when a connection is lost.
 * @throws StartupError the url is no connection string
 */
export function openConnection({ url, logger, connectTimeout }: ConnectionOptions): Connection {
  const { first, most } = { ...CONNECT_TIMEOUT, ...(connectTimeout && { first: connectTimeout }) };
  let tries = 0;
  let current = open(url, logger, tries);
  let since: number | null = null;
  let limit = first;
  let closed = false;

  function look(): void {
    const state = current.channel()?.getConnectivityState(false);
    if (state === READY) limit = first;
    if (state !== CONNECTING) since = null;
    else if (since === null) since = performance.now();
    else if (performance.now() - since > limit) replace();
  }

  function replace(): void {
    logger.warn({ afterMs: limit }, 'EventStoreDB takes connections and says nothing; connecting anew');
    const former = current;
    current = open(url, logger, ++tries);
    since = null;
    limit = Math.min(limit * 2, most);
    former.channel()?.close();
    void closeClient(former.client).catch(() => undefined);
  }

  const looking = setInterval(look, first / 5).unref();
  return {
    get client() {
      return current.client;
    },
    gaveUp: (client) => closed || client !== current.client,
    async close() {
      closed = true;
      clearInterval(looking);
      await closeClient(current.client);
    },
  };
}

/** @param nth how many there were before: gRPC would give those that look alike the same connection */
function open(url: string, logger: Logger, nth: number) {
  const client = createClient(url, logger, nth);
  let channel: Channel | null = null;
  const create = Reflect.get(client, 'createChannel') as () => Promise<Channel>;
  Object.defineProperty(client, 'createChannel', {
    value: async (): Promise<Channel> => (channel = await create()),
  });
  return { client, channel: () => channel };
}
