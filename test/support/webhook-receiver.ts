import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingHttpHeaders, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

export interface Delivery {
  readonly method: string | undefined;
  readonly path: string | undefined;
  readonly headers: IncomingHttpHeaders;
  /** The bytes that came, as text. */
  readonly body: string;
}

/** Somebody's server that webhooks are delivered to. */
export interface WebhookReceiver {
  readonly url: string;
  /** What came, in order. */
  readonly deliveries: readonly Delivery[];
  /** Listens again on the same port, after `answer` has said `then: 'hang-up'`. */
  listenAgain(): Promise<void>;
  close(): Promise<void>;
}

export interface ReceiverAnswer {
  readonly status: number;
  /** After this answer nobody listens any more: the next connection is refused. */
  readonly then?: 'hang-up';
}

/** @param answer what the n-th delivery (from 1) is answered; 200 by default */
export async function startWebhookReceiver(
  answer: (n: number) => ReceiverAnswer = () => ({ status: 200 }),
): Promise<WebhookReceiver> {
  const deliveries: Delivery[] = [];
  const newServer = (): Server =>
    createServer((req, res) => {
      void text(req).then((body) => {
        const n = deliveries.push({ method: req.method, path: req.url, headers: req.headers, body });
        const { status, then } = answer(n);
        if (then === 'hang-up') server.close();
        res.writeHead(status, { connection: 'close' }).end();
      });
    });
  const listen = async (port: number): Promise<Server> => {
    const fresh = newServer().listen(port, '127.0.0.1');
    await once(fresh, 'listening');
    return fresh;
  };
  let server = await listen(0);
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/webhooks/asyncly`,
    deliveries,
    listenAgain: async () => {
      server = await listen(port);
    },
    close: async () => {
      if (!server.listening) return;
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
