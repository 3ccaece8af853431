import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import express from 'express';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { contextOf, requestContext } from '../../src/http/request-context.ts';
import { startHttpServer } from '../../src/http/server.ts';
import type { HttpServer } from '../../src/http/server.ts';
import { boundUnreadAnswers } from '../../src/http/unread-answers.ts';
import { silentLogger } from '../support/database.ts';
import { startApi } from '../support/http.ts';
import { startTarget } from '../support/target.ts';
import type { Target, TargetUser } from '../support/target.ts';
import { eventually } from '../support/waiting.ts';

/** Milliseconds until a test gives up, on a machine that has much to do. */
const PATIENCE = 25_000;

/** A client that only does what it is told, and keeps what it has read. */
async function client(port: number, text = '') {
  const socket: Socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  const read = { bytes: 0, text: '', ended: false };
  socket.on('data', (chunk: Buffer) => {
    read.bytes += chunk.length;
    if (read.text.length < 1_000) read.text += chunk.toString('latin1');
  });
  socket.on('error', () => undefined);
  socket.on('close', () => (read.ended = true));
  await once(socket, 'connect');
  socket.write(text);
  return { socket, read };
}

describe('a client that takes its time', () => {
  const LARGE = Buffer.alloc(32_000_000);
  let server: HttpServer;

  beforeAll(async () => {
    server = await startHttpServer({
      app: (req, res) => void req.resume().on('end', () => res.end(req.url === '/large' ? LARGE : 'ok')),
      host: '127.0.0.1',
      port: 0,
      logger: silentLogger,
      drainMs: 0,
      timeouts: { headers: 300, request: 600, stalled: 900, idle: 300, check: 50 },
    });
  });
  afterAll(() => server.stop());

  const HEAD = 'POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n';
  test.each<readonly [string, string, string | null, number | null]>([
    ['says nothing', '', null, 408],
    ['stops in the middle of the first line', 'GET /x', null, 408],
    ['sends its headers letter by letter', 'GET /x HTTP/1.1\r\nX: ', 'a', 408],
    ['sends header after header', 'GET /x HTTP/1.1\r\n', 'X-A: b\r\n', 408],
    ['stops before its body', HEAD, null, 408],
    ['sends its body letter by letter', HEAD, 'a', 408],
    [
      'sends its chunks byte by byte',
      'POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n',
      '1\r\na\r\n',
      408,
    ],
    ['asks for nothing more', 'GET /x HTTP/1.1\r\nHost: x\r\n\r\n', null, 200],
  ])('%s is hung up on', async (_, beginning, drip, status) => {
    const { socket, read } = await client(server.port, beginning);
    const dripping = setInterval(() => drip !== null && socket.writable && socket.write(drip), 20);
    await eventually(() => read.ended, PATIENCE);
    clearInterval(dripping);
    expect(read.text).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  });

  test('reads nothing of its answer is hung up on', async () => {
    const { socket, read } = await client(server.port, 'GET /large HTTP/1.1\r\nHost: x\r\n\r\n');
    socket.pause();
    const open = (): Promise<number> =>
      new Promise((resolve) => server.server.getConnections((_, count) => resolve(count)));
    await eventually(async () => (await open()) === 0, PATIENCE);
    socket.resume();
    await eventually(() => read.ended, PATIENCE);
    expect(read.bytes).toBeLessThan(LARGE.length);
  });
});

test('the service gives no client more than a minute', async () => {
  const { server } = (await startApi()).server;
  expect(server.headersTimeout).toBe(15_000);
  expect(server.requestTimeout).toBe(60_000);
  expect(server.timeout).toBe(60_000);
  expect(server.keepAliveTimeout).toBeLessThan(70_000);
});

test('who asks for much and reads nothing loses answers, and nobody else does', async () => {
  // More than the buffers of two sockets take.
  const ANSWER = Buffer.alloc(32_000_000);
  const lines: string[] = [];
  const logger = pino({}, { write: (line: string) => void lines.push(line) });
  const app = express();
  app.use(requestContext(silentLogger));
  app.use(boundUnreadAnswers(logger, 3 * ANSWER.length));
  app.use((req, res) => {
    contextOf(res).userId = req.get('x-user') ?? null;
    res.send(ANSWER);
  });
  const http = await startHttpServer({
    app,
    host: '127.0.0.1',
    port: 0,
    logger: silentLogger,
    drainMs: 0,
  });
  onTestFinished(() => http.stop());
  const ask = async (user: string) => {
    const asking = await client(
      http.port,
      `GET / HTTP/1.1\r\nHost: x\r\nX-User: ${user}\r\nConnection: close\r\n\r\n`,
    );
    asking.socket.pause();
    return asking;
  };
  const patient = await ask('patient');
  const greedy = await Promise.all(Array.from({ length: 20 }, () => ask('greedy')));
  await eventually(() => lines.length > 5, PATIENCE);
  for (const line of lines) expect(JSON.parse(line)).toMatchObject({ userId: 'greedy', level: 40 });
  for (const { socket } of [patient, ...greedy]) socket.resume();
  await eventually(() => [patient, ...greedy].every(({ read }) => read.ended), PATIENCE);
  expect(patient.read.bytes).toBeGreaterThan(ANSWER.length);
  expect(greedy.filter(({ read }) => read.bytes < ANSWER.length).length).toBeGreaterThan(5);
});

describe('a page', () => {
  let target: Target;
  let user: TargetUser;
  const list = (query: string) => target.call('GET', `/api/jobs?${query}`, { token: user.apiKey });

  beforeAll(async () => {
    target = await startTarget({ ROLES: 'api,projector' });
    user = await target.newUser();
    const body = JSON.stringify({ type: 't', payload: { a: 'x'.repeat(500_000) } });
    for (let n = 0; n < 20; n++) await target.call('POST', '/api/jobs', { token: user.apiKey, body });
    await eventually(async () => ((await list('limit=1')).body.meta as { total: number }).total === 20);
  });
  afterAll(() => target.stop());

  test('of more than 8 MiB is refused, however well it compresses', async () => {
    const { status, body } = await list('limit=20');
    expect([status, body.message]).toEqual([
      400,
      'The entries of this page hold more than 8 MiB: ask for fewer with limit (10 are always listed)',
    ]);
  });

  test.each(['limit=16', 'limit=10&page=2', 'limit=100&status=DONE', ''])(
    'of less is not: %j',
    async (query) => {
      expect((await list(query)).status).toBe(200);
    },
  );
});
