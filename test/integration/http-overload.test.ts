import { once } from 'node:events';
import { connect } from 'node:net';
import express from 'express';
import { expect, onTestFinished, test } from 'vitest';
import { admission } from '../../src/http/admission.ts';
import type { HttpAppOptions } from '../../src/http/app.ts';
import { errorHandler } from '../../src/http/errors.ts';
import { jsonBody } from '../../src/http/json-body.ts';
import { contextOf, requestContext } from '../../src/http/request-context.ts';
import { startHttpServer } from '../../src/http/server.ts';
import { createEventStoreDbEventStore } from '../../src/infrastructure/eventstoredb/event-store.ts';
import { silentLogger } from '../support/database.ts';
import { startEventStoreDouble } from '../support/eventstoredb/server.ts';
import { startApi } from '../support/http.ts';
import { httpClient } from '../support/http-client.ts';
import type { Answer } from '../support/http-client.ts';
import { createGate, eventually } from '../support/waiting.ts';

const turnedAway = { success: false, message: 'Service temporarily unavailable, please try again' };

async function serve(...handlers: express.RequestHandler[]): Promise<number> {
  const app = express();
  app.use(requestContext(silentLogger));
  app.use(...handlers);
  app.use(errorHandler(silentLogger));
  const server = await startHttpServer({ app, host: '127.0.0.1', port: 0, logger: silentLogger, drainMs: 0 });
  onTestFinished(() => server.stop());
  return server.port;
}

const statusOf = async (port: number): Promise<number> => (await fetch(`http://127.0.0.1:${port}/`)).status;

test('requests beyond the bound are turned away, and one that has gone makes room, answered or not', async () => {
  const answer = createGate();
  let underWay = 0;
  const port = await serve(admission(2), async (_req, res) => {
    underWay++;
    await answer.opened;
    res.send('ok');
  });
  const leaving = new AbortController();
  const left = fetch(`http://127.0.0.1:${port}/`, { signal: leaving.signal }).catch(() => 'left');
  const stays = statusOf(port);
  await eventually(() => underWay === 2);
  const refused = await fetch(`http://127.0.0.1:${port}/`);
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
  expect(await refused.json()).toEqual(turnedAway);
  leaving.abort();
  expect(await left).toBe('left');
  const next = eventually(async () => {
    const status = await statusOf(port);
    return status !== 503 && status;
  });
  await eventually(() => underWay === 3);
  answer.open();
  expect(await Promise.all([stays, next])).toEqual([200, 200]);
  expect(await Promise.all([statusOf(port), statusOf(port)])).toEqual([200, 200]);
});

/** A request that has sent its headers and none of its body yet. */
async function beginPost(port: number, user: string, length: number | null) {
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  const said = { text: '' };
  socket.setEncoding('latin1').on('data', (text: string) => (said.text += text));
  socket.on('error', () => undefined);
  const closed = once(socket, 'close');
  await once(socket, 'connect');
  const framing = length === null ? 'Transfer-Encoding: chunked' : `Content-Length: ${length}`;
  socket.write(
    `POST / HTTP/1.1\r\nHost: x\r\nX-User: ${user}\r\nContent-Type: application/json\r\n${framing}\r\n\r\n`,
  );
  return {
    said,
    closed,
    status: () => Number(/^HTTP\/1\.1 (\d+)/.exec(said.text)?.[1] ?? 0),
    finish: () => socket.write(`{"a":"${'x'.repeat(length! - 8)}"}`),
  };
}

test('bodies that do not fit together cost whoever sends most of them the oldest, and nobody else', async () => {
  let begun = 0;
  /** Of bodies that were turned away: how many still collect what has come of it and will come. */
  const collecting: number[] = [];
  const parse = jsonBody(1_000_000);
  const watched: express.RequestHandler = (req, res, next) =>
    parse(req, res, (error?: unknown) => {
      if (error !== undefined) collecting.push(req.listenerCount('data'));
      next(error);
    });
  const port = await serve(
    (req, res, next) => {
      contextOf(res).userId = req.get('x-user') ?? null;
      next();
      begun++;
    },
    watched,
    (req, res) => void res.json({ read: Object.keys(req.body as object) }),
  );
  const begin = async (user: string, length: number | null) => {
    const before = begun;
    const post = await beginPost(port, user, length);
    await eventually(() => begun > before);
    return post;
  };
  const modest = await begin('modest', 250_000);
  // One that does not say how long it is counts as long as it may be.
  const first = await begin('greedy', null);
  const second = await begin('greedy', 200_000);
  const third = await begin('greedy', 200_000);
  await eventually(() => first.status() === 503);
  await first.closed;
  expect(first.said.text).toContain('Retry-After: 1');
  expect(first.said.text).toContain(JSON.stringify(turnedAway));
  const another = await begin('another', 400_000);
  await second.closed;
  expect(second.status()).toBe(503);
  expect(collecting).toEqual([0, 0]);
  for (const post of [modest, third, another]) post.finish();
  await eventually(() => [modest, third, another].every((post) => post.status() === 200));
});

test('a body that has been read is worked on, and who has to wait for it is told so', async () => {
  const answer = createGate();
  let inWork = 0;
  const port = await serve(jsonBody(100_000), async (_req, res) => {
    inWork++;
    await answer.opened;
    res.send('ok');
  });
  const [working, late] = [await beginPost(port, '', 60_000), await beginPost(port, '', 20)];
  working.finish();
  await eventually(() => inWork === 1);
  const refused = await beginPost(port, '', 60_000);
  await eventually(() => refused.status() === 503 || late.status() === 503);
  answer.open();
  await eventually(() => working.status() === 200);
  const again = await beginPost(port, '', 60_000);
  again.finish();
  await eventually(() => again.status() === 200);
});

/** The whole API, over an event store that answers no append until it is told to go on. */
async function startStalled(bounds: Pick<HttpAppOptions, 'maxRequests' | 'maxBodyBytes'>) {
  const double = await startEventStoreDouble();
  const asked = new Set<string>();
  let isStalled = true;
  double.faults.onAppend = (stream) => {
    asked.add(stream);
    return isStalled ? 'stall' : null;
  };
  const api = await startApi(bounds, () => {
    const store = createEventStoreDbEventStore({ url: double.url, logger: silentLogger, patience: 60_000 });
    return { ...store, close: () => store.close().finally(() => double.stop()) };
  });
  const goOn = (): void => {
    isStalled = false;
  };
  onTestFinished(goOn);
  const { token } = await api.newUser();
  const call = httpClient(api.base, 15_000);
  const submit = (payload: object): Promise<Answer> =>
    call('POST', '/api/jobs', { token, body: { type: 't', payload } });
  return {
    call,
    token,
    submit,
    goOn,
    untilAsked: (appends: number) => eventually(() => asked.size === appends),
  };
}

function expectTurnedAway({ status, headers, body }: Answer): void {
  expect({ status, retryAfter: headers.get('retry-after'), body }).toEqual({
    status: 503,
    retryAfter: '1',
    body: turnedAway,
  });
}

test('the whole API lets so many requests in while its store stalls, and still says that it lives', async () => {
  const { call, token, submit, untilAsked, goOn } = await startStalled({ maxRequests: 2 });
  const waiting = [submit({}), submit({})];
  await untilAsked(2);
  expectTurnedAway(await submit({}));
  expectTurnedAway(await call('GET', '/api/jobs', { token }));
  expectTurnedAway(await call('POST', '/api/auth/login', { body: {} }));
  expect((await call('GET', '/healthz')).status).toBe(200);
  goOn();
  expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([201, 201]);
  expect((await submit({})).status).toBe(201);
});

test('the whole API holds so many bytes of bodies while its store stalls', async () => {
  const { submit, untilAsked, goOn } = await startStalled({ maxBodyBytes: 2_000 });
  const large = { filler: 'x'.repeat(800) };
  const waiting = [submit(large), submit(large)];
  await untilAsked(2);
  expectTurnedAway(await submit(large));
  waiting.push(submit({}));
  await untilAsked(3);
  goOn();
  expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([201, 201, 201]);
  expect((await submit(large)).status).toBe(201);
});
