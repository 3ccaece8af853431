import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createEgressClient } from '../../src/egress/egress-client.ts';
import { createGate } from '../support/waiting.ts';

const egress = createEgressClient({ allowPrivateNetworks: true });
const LIMIT = 16_384;

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?x=1`;
}

function receiver(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return listening(server);
}

const post = (url: string, timeoutMs = 5_000, signal?: AbortSignal) =>
  egress.send({
    url,
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-mark': '1' },
    body: '{"ü":1}',
    timeoutMs,
    maxResponseBytes: LIMIT,
    ...(signal && { signal }),
  });

describe('send', () => {
  it('sends method, path, headers and the exact body, and gives the answer', async () => {
    let seen: { request: IncomingMessage; body: string } | undefined;
    const url = await receiver((request, res) => {
      void text(request).then((body) => {
        seen = { request, body };
        res.writeHead(201).end('made');
      });
    });
    expect(await post(url)).toEqual({ status: 201, body: 'made' });
    expect(seen?.request).toMatchObject({ method: 'POST', url: '/hook?x=1' });
    expect(seen?.request.headers).toMatchObject({
      'x-mark': '1',
      'content-length': '8',
      connection: 'close',
    });
    expect(seen?.body).toBe('{"ü":1}');
  });

  it('does not follow redirects', async () => {
    let requests = 0;
    const url = await receiver((_req, res) => {
      requests++;
      res.writeHead(307, { location: '/elsewhere' }).end();
    });
    expect((await post(url)).status).toBe(307);
    expect(requests).toBe(1);
  });

  it('opens a connection for each request', async () => {
    const ports = new Set<number | undefined>();
    const url = await receiver((req, res) => {
      ports.add(req.socket.remotePort);
      res.end();
    });
    await post(url);
    await post(url);
    expect(ports.size).toBe(2);
  });

  it('reads no more of an answer than it may, and hangs up on one that never ends', async () => {
    const hungUp = createGate();
    const url = await receiver((_req, res) => {
      res.once('close', () => hungUp.open());
      const more = (): void => {
        while (!res.destroyed && res.write('x'.repeat(10_000)));
      };
      res.on('drain', more);
      more();
    });
    const { status, body } = await post(url);
    expect({ status, length: body.length }).toEqual({ status: 200, length: LIMIT });
    await hungUp.opened;
  });

  it.each<[string, RequestListener]>([
    ['never answers', () => undefined],
    ['never ends its answer', (_req, res) => void res.write('a')],
    [
      'drips its answer',
      (_req, res) => {
        const drip = setInterval(() => res.write('a'), 10);
        res.once('close', () => clearInterval(drip));
      },
    ],
  ])('keeps its deadline with a receiver that %s', async (_, listener) => {
    const closed = createGate();
    const url = await receiver((req, res) => {
      res.once('close', () => closed.open());
      listener(req, res);
    });
    await expect(post(url, 200)).rejects.toThrow(/^Timed out after 200 ms$/);
    await closed.opened;
  });

  it('says that a connection was refused', async () => {
    const server = createTcpServer();
    const url = await listening(server);
    await new Promise((resolve) => server.close(resolve));
    await expect(post(url)).rejects.toThrow(/^connect ECONNREFUSED$/);
  });

  it('fails once with a receiver that closes at once', async () => {
    let connections = 0;
    const server = createTcpServer((socket) => {
      connections++;
      socket.on('error', () => undefined);
      socket.end();
    });
    onTestFinished(() => void server.close());
    const url = await listening(server);
    await expect(post(url)).rejects.toThrow(
      /^The connection was closed without an answer$|^(read|write) E[A-Z]+$/,
    );
    expect(connections).toBe(1);
  });

  it('fails with a receiver that speaks no HTTP, and names no address', async () => {
    const server = createTcpServer((socket) => {
      socket.on('error', () => undefined);
      socket.end('220 smtp.example.com ESMTP\r\n');
    });
    onTestFinished(() => void server.close());
    const error = await post(await listening(server)).catch((thrown: unknown) => thrown as Error);
    expect((error as Error).message).not.toMatch(/127|\d{4,}/);
  });

  it('is interrupted by its signal', async () => {
    const stop = new AbortController();
    const url = await receiver(() => stop.abort());
    await expect(post(url, 5_000, stop.signal)).rejects.toThrow(/^Interrupted$/);
    await expect(post(url, 5_000, stop.signal)).rejects.toThrow(/^Interrupted$/);
  });
});

describe('fetch', () => {
  it('works as the global one', async () => {
    const url = await receiver((_req, res) => res.writeHead(200, { 'x-a': 'b' }).end('{"a":1}'));
    const response = await egress.fetch(url, { headers: { accept: 'application/json' } });
    expect(response.headers.get('x-a')).toBe('b');
    expect(await response.json()).toEqual({ a: 1 });
    await egress.close();
  });
});
