import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { Delivery } from './checks/webhooks.ts';

/** What a receiver does with the first requests of a webhook; after those it takes everything. */
export type Mood = 'willing' | 'fails-once' | 'fails-twice' | 'hangs' | 'cuts' | 'refuses';
export const MOODS: readonly Mood[] = ['willing', 'fails-once', 'fails-twice', 'hangs', 'cuts', 'refuses'];
const FAILURES: Readonly<Record<Mood, number>> = {
  willing: 0,
  'fails-once': 1,
  'fails-twice': 2,
  hangs: 1,
  cuts: 1,
  refuses: Number.POSITIVE_INFINITY,
};

/** The users' server that webhooks are delivered to. */
export interface FlakyReceiver {
  urlFor(mood: Mood, n: number): string;
  /** All that came, in order. */
  readonly deliveries: readonly Delivery[];
  /** From now on everything is taken, in whatever mood. */
  relent(): void;
  close(): Promise<void>;
}

export async function startFlakyReceiver(): Promise<FlakyReceiver> {
  const deliveries: Delivery[] = [];
  const came = new Map<string, number>();
  let relented = false;

  async function take(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const body = await text(req);
    const header = (name: string): string => String(req.headers[name] ?? '');
    const id = header('webhook-id');
    const before = came.get(id) ?? 0;
    came.set(id, before + 1);
    const mood = MOODS.find((one) => req.url?.startsWith(`/${one}/`)) ?? 'willing';
    const taken = relented || before >= FAILURES[mood];
    deliveries.push({
      id,
      timestamp: header('webhook-timestamp'),
      serviceSignature: header('x-asyncly-signature'),
      userSignatures: header('webhook-signature'),
      body,
      taken,
    });
    if (taken) res.writeHead(200).end();
    else if (mood === 'cuts') req.socket.destroy();
    else if (mood !== 'hangs') res.writeHead(500).end();
  }

  const server = createServer((req, res) => {
    // A sender that hangs up in the middle: it did not deliver anything.
    take(req, res).catch(() => res.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    urlFor: (mood, n) => `http://127.0.0.1:${port}/${mood}/${n}`,
    deliveries,
    relent() {
      relented = true;
    },
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
