import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { createCuttingProxy } from '../support/cutting-proxy.ts';
import { eventually } from '../support/waiting.ts';

interface Caller {
  readonly socket: Socket;
  /** What has come back so far. */
  heard(): string;
  readonly closed: Promise<unknown>;
}

/** A proxy before a server that says everything back, unless it is told otherwise. */
async function setUp(serve: (socket: Socket) => void = (socket) => void socket.pipe(socket)) {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    serve(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const proxy = await createCuttingProxy({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
  onTestFinished(async () => {
    await proxy.close();
    server.close();
  });
  async function call(): Promise<Caller> {
    const socket = connect(proxy.port, '127.0.0.1');
    socket.on('error', () => undefined);
    let text = '';
    socket.setEncoding('utf8').on('data', (more: string) => (text += more));
    const closed = once(socket, 'close');
    onTestFinished(() => void socket.destroy());
    socket.write('hello');
    await eventually(() => text === 'hello');
    return { socket, heard: () => text, closed };
  }
  return { proxy, call };
}

it('resets the connections there are and takes new ones', async () => {
  const { proxy, call } = await setUp();
  const [one, other] = [await call(), await call()];
  expect(proxy.reset()).toBe(2);
  await Promise.all([one.closed, other.closed]);
  expect((await call()).heard()).toBe('hello');
});

it('forgets the connections there are without a word, and takes new ones', async () => {
  const { proxy, call } = await setUp();
  const one = await call();
  expect(proxy.forget()).toBe(1);
  expect(proxy.connections).toBe(0);
  const before = proxy.received;
  one.socket.write('anybody there?');
  await eventually(() => proxy.received > before);
  expect((await call()).heard()).toBe('hello');
  expect(one.heard()).toBe('hello');
  expect(one.socket.destroyed).toBe(false);
});

it('slows down without loss, and keeps the order when it is over', async () => {
  const { proxy, call } = await setUp();
  const one = await call();
  const end = proxy.slowDown(300);
  const [before, began] = [proxy.received, performance.now()];
  one.socket.write(' slow');
  await eventually(() => proxy.received > before);
  end();
  one.socket.write(' quick');
  await eventually(() => one.heard() === 'hello slow quick');
  expect(performance.now() - began).toBeGreaterThan(290);
});

it('loses the reply to what it is told to wait for, which the server has had', async () => {
  const { proxy, call } = await setUp();
  const [one, other] = [await call(), await call()];
  const lost = proxy.loseNextReply('COMMIT');
  other.socket.write(' BEGIN');
  one.socket.write(' COMMIT');
  await Promise.all([lost, one.closed]);
  expect(one.heard()).toBe('hello');
  await eventually(() => other.heard() === 'hello BEGIN');
});

it("loses the next one's reply when a client goes before it has any", async () => {
  const { proxy, call } = await setUp((socket) => {
    socket.on('data', (data) => {
      if (!data.includes('silence')) socket.write(data);
    });
  });
  const one = await call();
  const lost = proxy.loseNextReply('silence', 'COMMIT');
  const before = proxy.received;
  one.socket.write(' silence');
  await eventually(() => proxy.received > before);
  one.socket.destroy();
  await one.closed;
  await eventually(() => proxy.connections === 0);
  const other = await call();
  other.socket.write(' COMMIT');
  await Promise.all([lost, other.closed]);
  expect(other.heard()).toBe('hello');
});

it('loses nothing once nobody waits for it', async () => {
  const { proxy, call } = await setUp();
  const over = new AbortController();
  const lost = proxy.loseReply(['COMMIT'], over.signal);
  over.abort(new Error('Too late'));
  await expect(lost).rejects.toThrow('Too late');
  const one = await call();
  one.socket.write(' COMMIT');
  await eventually(() => one.heard() === 'hello COMMIT');
});
