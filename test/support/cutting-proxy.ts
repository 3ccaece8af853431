import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

/** A TCP proxy that does to its clients what networks do. */
export interface CuttingProxy {
  readonly port: number;
  /**
   * The next thing a client sends reaches the server; the answer is awaited, thrown away, and the connection cut.
   * @param containing waits for something with this text in it, where clients send other things as well
   * @returns resolves when that has happened
   */
  loseNextReply(containing?: string): Promise<void>;
  /** Cuts every connection, and refuses new ones until the function it returns is called. */
  refuse(): () => void;
  /**
   * Keeps connections open and takes new ones, but nothing comes through, until the function it returns is called. Connections from
   * before stay dead even then, as behind a firewall that has forgotten them.
   */
  swallow(): () => void;
  close(): Promise<void>;
}

type Manner = 'pass' | 'refuse' | 'swallow';

export async function createCuttingProxy(target: { host: string; port: number }): Promise<CuttingProxy> {
  let lose: { readonly containing: string; readonly lost: () => void } | null = null;
  let manner: Manner = 'pass';
  const sockets = new Set<Socket>();
  const dead = new WeakSet<Socket>();

  function track(socket: Socket, ended: () => void): void {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      sockets.delete(socket);
      ended();
    });
  }

  const server = createServer((client) => {
    if (manner === 'refuse') {
      client.destroy();
      return;
    }
    if (manner === 'swallow') {
      track(client, () => undefined);
      client.resume();
      return;
    }
    const upstream = connect(target);
    let losing: (() => void) | null = null;
    track(client, () => upstream.destroy());
    track(upstream, () => {
      // Who has been swallowed up does not hear of the end either.
      if (!dead.has(client)) client.destroy();
    });
    client.on('data', (data) => {
      if (dead.has(client)) return;
      if (lose !== null && data.includes(lose.containing)) {
        losing ??= lose.lost;
        lose = null;
      }
      upstream.write(data);
    });
    upstream.on('data', (data) => {
      if (dead.has(client)) return;
      if (!losing) client.write(data);
      else {
        client.destroy();
        losing();
      }
    });
  });

  function become(next: Manner): () => void {
    manner = next;
    return () => {
      manner = 'pass';
    };
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    loseNextReply: (containing = '') => new Promise((lost) => (lose = { containing, lost })),
    refuse() {
      for (const socket of sockets) socket.destroy();
      return become('refuse');
    },
    swallow() {
      for (const socket of sockets) dead.add(socket);
      return become('swallow');
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
