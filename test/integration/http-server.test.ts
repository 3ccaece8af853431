import { once } from 'node:events';
import { createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { expect, onTestFinished, test } from 'vitest';
import { StartupError, UnavailableError } from '../../src/errors.ts';
import { startHttpServer } from '../../src/http/server.ts';
import { silentLogger } from '../support/database.ts';
import { startApi } from '../support/http.ts';

test('what is not there is not found', async () => {
  const { call } = await startApi();
  for (const [method, path] of [
    ['GET', '/'],
    ['GET', '/api'],
    ['GET', '/api/unknown'],
    ['POST', '/api/auth/unknown'],
    ['PUT', '/api/jobs'],
    ['GET', '/api/healthz'],
  ] as const) {
    const { status, body } = await call(method, path);
    expect(status).toBe(404);
    expect(body).toEqual({ success: false, message: 'Route not found' });
  }
});

test('malformed JSON is refused', async () => {
  const { call } = await startApi();
  for (const body of ['{', '{"a":}', '"text"', '['.repeat(200_000)]) {
    const answer = await call('POST', '/api/auth/login', { body });
    expect(answer.status).toBe(400);
    expect(answer.body).toEqual({ success: false, message: 'Invalid JSON' });
  }
});

const unsupported = 'Unsupported Media Type: send JSON as application/json, in UTF-8 and not compressed';

test('a body of more than 512 KiB is refused, and any that is compressed', async () => {
  const { call, newUser, base } = await startApi();
  const { token } = await newUser();
  const tooLarge = { success: false, message: 'Request body too large: at most 512 KiB' };
  const job = (length: number): string => JSON.stringify({ type: 't', payload: { a: 'x'.repeat(length) } });
  expect((await call('POST', '/api/jobs', { token, body: job(524_000) })).status).toBe(201);
  expect(await call('POST', '/api/jobs', { token, body: job(524_288) })).toMatchObject({
    status: 413,
    body: tooLarge,
  });
  const zipped = await fetch(`${base}/api/jobs`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'content-encoding': 'gzip',
    },
    body: gzipSync(job(5_000_000)),
  });
  expect(zipped.status).toBe(415);
  expect(await zipped.json()).toEqual({ success: false, message: unsupported });
});

test('numbers that grow beyond what the store takes are refused as too large', async () => {
  const { call, newUser } = await startApi();
  const { token } = await newUser();
  const body = `{"type":"t","payload":{"a":[${Array.from({ length: 125_000 }, () => '1e9').join()}]}}`;
  expect((await call('POST', '/api/jobs', { token, body })).status).toBe(413);
});

test("a malformed path, an unknown charset and an unknown encoding are the client's faults", async () => {
  const { call, newUser } = await startApi();
  const { token } = await newUser();
  expect(await call('GET', '/api/jobs/%E0%A4', { token })).toMatchObject({
    status: 400,
    body: { message: 'Bad Request' },
  });
  for (const headers of [
    { 'content-type': 'application/json; charset=latin9' },
    { 'content-encoding': 'x' },
  ]) {
    const answer = await call('POST', '/api/auth/login', {
      body: '{}',
      headers: { 'content-type': 'application/json', ...headers },
    });
    expect(answer).toMatchObject({
      status: 415,
      body: { success: false, message: unsupported },
    });
  }
});

test("the client's request id is kept when it is sound", async () => {
  const { call, logLines } = await startApi();
  const answered = async (id: string) =>
    (await call('GET', '/x?token=t', { headers: { 'x-request-id': id } })).headers.get('x-request-id');
  expect(await answered('trace-1.2:3')).toBe('trace-1.2:3');
  expect(await answered('a b')).toMatch(/^[0-9a-f-]{36}$/);
  expect(await answered('x'.repeat(129))).toMatch(/^[0-9a-f-]{36}$/);
  await expect.poll(() => logLines.length).toBe(3);
  expect(JSON.parse(logLines[0]!)).toMatchObject({
    msg: 'request',
    method: 'GET',
    path: '/x',
    status: 404,
    correlationId: 'trace-1.2:3',
    userId: null,
    ms: expect.any(Number) as number,
  });
});

test('an unexpected error is logged in full and answered without detail', async () => {
  const { call, newUser, logLines } = await startApi({
    handleJob: () => Promise.reject(new Error('relation "secret_table" does not exist')),
  });
  const { token } = await newUser();
  const { status, body } = await call('POST', '/api/jobs', { token, body: { type: 't', payload: {} } });
  expect(status).toBe(500);
  expect(body).toEqual({ success: false, message: 'Internal server error' });
  expect(logLines.join('')).toContain('secret_table');
});

test('a part that is away is answered with 503 and when to come back', async () => {
  const { call, newUser } = await startApi({
    handleJob: () => Promise.reject(new UnavailableError('postgres', 'connect ECONNREFUSED 10.0.0.5')),
  });
  const { token } = await newUser();
  const { status, body, headers } = await call('POST', '/api/jobs', {
    token,
    body: { type: 't', payload: {} },
  });
  expect(status).toBe(503);
  expect(headers.get('retry-after')).toBe('1');
  expect(body).toEqual({ success: false, message: 'Service temporarily unavailable, please try again' });
});

test('the probes say whether the process lives and whether it can serve', async () => {
  let ready = false;
  const parts = { jobs: { status: 'failed', detail: 'stopped' } } as const;
  const { call } = await startApi({ readiness: () => Promise.resolve({ ready, parts }) });
  expect(await call('GET', '/healthz')).toMatchObject({ status: 200, body: { status: 'alive' } });
  const notReady = await call('GET', '/readyz');
  expect(notReady).toMatchObject({ status: 503, body: { status: 'not ready', parts } });
  expect(notReady.headers.get('retry-after')).toBe('1');
  ready = true;
  expect(await call('GET', '/readyz')).toMatchObject({ status: 200, body: { status: 'ready' } });
});

test('no other origin is let in, and nothing tells what the service is made of', async () => {
  const { call } = await startApi();
  const { headers } = await call('GET', '/healthz', { headers: { origin: 'https://elsewhere.example' } });
  expect(headers.get('access-control-allow-origin')).toBeNull();
  expect(headers.get('x-powered-by')).toBeNull();
  expect(headers.get('x-content-type-options')).toBe('nosniff');
});

test('a stop lets requests under way finish and takes no new ones', async () => {
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  const app = createServer();
  const arrived = once(app, 'request');
  const server = await startHttpServer({
    app: (req, res) => {
      app.emit('request', req, res);
      void held.then(() => res.end('done'));
    },
    host: '127.0.0.1',
    port: 0,
    logger: silentLogger,
  });
  const answer = fetch(`http://127.0.0.1:${server.port}/`);
  await arrived;
  const stopped = server.stop();
  expect(server.stop()).toBe(stopped);
  await expect(fetch(`http://127.0.0.1:${server.port}/`)).rejects.toThrow();
  release();
  // The client is told that this connection takes no further request, also when its request came before the stop.
  expect((await answer).headers.get('connection')).toBe('close');
  expect(await (await answer).text()).toBe('done');
  await stopped;
});

test('a stop cuts off what does not finish in time', async () => {
  const http = await startHttpServer({
    app: () => undefined,
    host: '127.0.0.1',
    port: 0,
    logger: silentLogger,
    drainMs: 50,
  });
  const arrived = once(http.server, 'request');
  const request = get({ port: http.port, host: '127.0.0.1' });
  const cut = once(request, 'error');
  await arrived;
  await http.stop();
  expect((await cut)[0]).toHaveProperty('code', 'ECONNRESET');
});

test('a port that is taken is named', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void other.close());
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  const start = startHttpServer({ app: () => undefined, host: '127.0.0.1', port, logger: silentLogger });
  await expect(start).rejects.toThrow(StartupError);
  await expect(start).rejects.toThrow(`PORT ${port} is in use`);
});
