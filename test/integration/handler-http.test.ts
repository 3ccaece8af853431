import { createServer } from 'node:http';
import type { RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createHandlerHttp } from '../../src/workers/handler-http.ts';
import { handlersFolder, testContext, testRegistry } from '../support/handlers.ts';

async function server(listener: RequestListener): Promise<string> {
  const listening = createServer(listener);
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    listening.closeAllConnections();
    listening.close();
  });
  return `http://127.0.0.1:${(listening.address() as AddressInfo).port}/`;
}

const FETCH = `export default { type: 't', async run({ url }, ctx) {
  const response = await ctx.http.fetch(url, { method: 'POST', body: 'hello' });
  return { status: response.status, text: await response.text() };
} };`;

async function fetching(allowPrivateNetworks: boolean) {
  return testRegistry({ handlersDir: await handlersFolder({ 't.mjs': FETCH }), allowPrivateNetworks });
}

describe("a handler's ctx.http in its thread", () => {
  test('fetches where it may', async () => {
    const url = await server((req, res) => res.end(`${req.method} seen`));
    const registry = await fetching(true);
    expect(await registry.run('t', { url }, testContext())).toEqual({ status: 200, text: 'POST seen' });
  });

  test('goes to no private network, by default', async () => {
    let requests = 0;
    const url = await server((_req, res) => {
      requests++;
      res.end();
    });
    const registry = await fetching(false);
    for (const inside of [url, url.replace('127.0.0.1', 'localhost'), 'http://169.254.169.254/']) {
      await expect(registry.run('t', { url: inside }, testContext())).rejects.toThrow(
        'Destination not allowed',
      );
    }
    expect(requests).toBe(0);
  });
});

describe("a built-in handler's ctx.http", () => {
  test('is guarded the same way, and ends with the attempt', async () => {
    const stop = new AbortController();
    const url = await server(() => stop.abort(new Error('cancelled')));
    await expect(createHandlerHttp(false, stop.signal).fetch(url)).rejects.toThrow('Destination not allowed');
    await expect(createHandlerHttp(true, stop.signal).fetch(url)).rejects.toThrow('cancelled');
  });

  test("obeys the request's own signal too", async () => {
    const own = new AbortController();
    const url = await server(() => own.abort(new Error('changed my mind')));
    const { signal } = new AbortController();
    await expect(createHandlerHttp(true, signal).fetch(url, { signal: own.signal })).rejects.toThrow(
      'changed my mind',
    );
  });
});
