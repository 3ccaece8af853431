import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { delayLine } from './delay-line.ts';
import { watchReplies } from './lost-reply.ts';
import type { WantedLoss } from './lost-reply.ts';

/** A TCP proxy that does to its clients what networks do. */
export interface CuttingProxy {
  readonly port: number;
  /** Connections of clients that something still comes through. */
  readonly connections: number;
  /** Bytes that came from clients, however they fared. */
  readonly received: number;
  /**
   * The next thing a client sends reaches the server; the answer is awaited, thrown away, and the connection cut. A client that goes
   * before there is an answer loses nothing: then it is the next one's turn.
   * @param containing waits for something with one of these texts in it, where clients send other things as well
   * @returns resolves when that has happened
   */
  loseNextReply(...containing: readonly string[]): Promise<void>;
  /** The same, until the signal aborts. @throws its reason; nothing is lost any more then */
  loseReply(containing: readonly string[], signal: AbortSignal): Promise<void>;
  /** Cuts every connection; new ones are taken. @returns how many there were */
  reset(): number;
  /** Cuts every connection, and refuses new ones until the function it returns is called. */
  refuse(): () => void;
  /**
   * Keeps connections open and takes new ones, but nothing comes through, until the function it returns is called. Connections from
   * before stay dead even then, as behind a firewall that has forgotten them.
   */
  swallow(): () => void;
  /** Nothing comes through the connections there are, and neither side is told; new ones work. @returns how many there were */
  forget(): number;
  /** What passes is held up, in each direction and in order, by so many milliseconds, until the function it returns is called. */
  slowDown(milliseconds: number): () => void;
  close(): Promise<void>;
}

export interface ProxyTarget {
  readonly host: string;
  readonly port: number;
}

type Manner = 'pass' | 'refuse' | 'swallow';

/** @param target asked at each connection when it is a function; null refuses the connection, as a server that is away does */
export async function createCuttingProxy(
  target: ProxyTarget | (() => ProxyTarget | null),
): Promise<CuttingProxy> {
  const targetNow = typeof target === 'function' ? target : () => target;
  let lose: WantedLoss | null = null;
  let manner: Manner = 'pass';
  let lag = 0;
  let received = 0;
  const sockets = new Set<Socket>();
  const clients = new Set<Socket>();
  const dead = new WeakSet<Socket>();

  function track(socket: Socket, ended: () => void): void {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      sockets.delete(socket);
      clients.delete(socket);
      ended();
    });
  }

  const server = createServer((client) => {
    const address = targetNow();
    if (manner === 'refuse' || address === null) {
      client.destroy();
      return;
    }
    if (manner === 'swallow') {
      track(client, () => undefined);
      client.on('data', (data) => (received += data.length));
      return;
    }
    const upstream = connect(address);
    const watch = watchReplies();
    clients.add(client);
    track(client, () => {
      upstream.destroy();
      if (watch.pending !== null && !watch.pending.signal.aborted) lose ??= watch.pending;
    });
    track(upstream, () => {
      // Who has been swallowed up does not hear of the end either.
      if (!dead.has(client)) client.destroy();
    });
    const [toServer, toClient] = [delayLine(upstream), delayLine(client)];
    client.on('data', (data) => {
      received += data.length;
      if (dead.has(client)) return;
      if (watch.sent(data, lose)) lose = null;
      toServer(data, lag);
    });
    upstream.on('data', (data) => {
      if (dead.has(client)) return;
      const verdict = watch.answered(data);
      if (verdict === 'pass') toClient(data, lag);
      else if (verdict === 'cut') client.destroy();
    });
  });

  function become(next: Manner): () => void {
    manner = next;
    return () => {
      manner = 'pass';
    };
  }

  /** @returns how many connections of clients that ends */
  function forAll(act: (socket: Socket) => void): number {
    const count = clients.size;
    for (const socket of [...sockets]) act(socket);
    clients.clear();
    return count;
  }

  function loseReply(containing: readonly string[], signal: AbortSignal): Promise<void> {
    return new Promise((lost, reject) => {
      const wanted: WantedLoss = { containing, signal, lost };
      lose = wanted;
      const giveUp = (): void => {
        if (lose === wanted) lose = null;
        reject(signal.reason as Error);
      };
      if (signal.aborted) giveUp();
      else signal.addEventListener('abort', giveUp, { once: true });
    });
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return clients.size;
    },
    get received() {
      return received;
    },
    loseNextReply: (...containing) =>
      loseReply(containing.length > 0 ? containing : [''], new AbortController().signal),
    loseReply,
    reset: () => forAll((socket) => socket.destroy()),
    refuse() {
      forAll((socket) => socket.destroy());
      return become('refuse');
    },
    swallow() {
      forAll((socket) => dead.add(socket));
      return become('swallow');
    },
    forget: () => forAll((socket) => dead.add(socket)),
    slowDown(milliseconds) {
      lag = milliseconds;
      return () => {
        lag = 0;
      };
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      forAll((socket) => socket.destroy());
      await closed;
    },
  };
}
