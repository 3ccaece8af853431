import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

/** A TCP proxy that can lose the reply to what its client sends next. */
export interface CuttingProxy {
  readonly port: number;
  /**
   * The next thing a client sends reaches the server; the answer is awaited, thrown away, and the connection cut.
   * @returns resolves when that has happened
   */
  loseNextReply(): Promise<void>;
  close(): Promise<void>;
}

export async function createCuttingProxy(target: { host: string; port: number }): Promise<CuttingProxy> {
  let lose: (() => void) | null = null;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(target);
    let losing: (() => void) | null = null;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on('data', (data) => {
      losing ??= lose;
      lose = null;
      upstream.write(data);
    });
    upstream.on('data', (data) => {
      if (!losing) client.write(data);
      else {
        client.destroy();
        losing();
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    loseNextReply: () => new Promise((resolve) => (lose = resolve)),
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
