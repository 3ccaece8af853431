import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { exchangeRaw, sendRaw } from '../support/raw-http.ts';
import { startTarget } from '../support/target.ts';
import type { Target, TargetUser } from '../support/target.ts';

let target: Target;
let user: TargetUser;
let before: unknown;

const written = async () => (await target.database.query('SELECT count(*) FROM eventstore.events')).rows;

beforeAll(async () => {
  target = await startTarget({ ROLES: 'api' });
  user = await target.newUser();
  before = await written();
});
afterAll(() => target.stop());
afterEach(async () => {
  expect(await written()).toEqual(before);
  expect((await target.call('GET', '/healthz')).status).toBe(200);
});

/** The statuses of all answers to what was sent, one after the other; empty when the connection was closed without. */
async function statuses(bytes: string): Promise<number[]> {
  const text = await exchangeRaw(target.base, Buffer.from(bytes, 'latin1'));
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}

/** What an attacker would have taken for the body of one request, and us for another. */
const SMUGGLED = 'DELETE /api/jobs/x HTTP/1.1\r\nHost: localhost\r\n\r\n';
const post = (...headers: string[]): string =>
  [
    'POST /api/auth/refresh HTTP/1.1',
    'Host: localhost',
    'Content-Type: application/json',
    ...headers,
    '',
    '',
  ].join('\r\n');

describe('what can be read in two ways is answered once, and the connection closed', () => {
  test.each<readonly [string, string]>([
    ['chunks and a length', post('Transfer-Encoding: chunked', 'Content-Length: 4') + `0\r\n\r\n${SMUGGLED}`],
    [
      'a length and chunks',
      post(`Content-Length: ${SMUGGLED.length + 5}`, 'Transfer-Encoding: chunked') + `0\r\n\r\n${SMUGGLED}`,
    ],
    ['two lengths', post('Content-Length: 0', `Content-Length: ${SMUGGLED.length}`) + SMUGGLED],
    ['two lengths in one line', post(`Content-Length: 0, ${SMUGGLED.length}`) + SMUGGLED],
    ['a length with a sign', post('Content-Length: +0') + SMUGGLED],
    ['a length in hex', post('Content-Length: 0x0') + SMUGGLED],
    ['a length with a space in it', post('Content-Length: 1 0') + SMUGGLED],
    ['a length beyond 64 bits', post('Content-Length: 18446744073709551616') + SMUGGLED],
    [
      'chunks twice',
      post('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked') + `0\r\n\r\n${SMUGGLED}`,
    ],
    ['chunks and then something', post('Transfer-Encoding: chunked, identity') + `0\r\n\r\n${SMUGGLED}`],
    ['a coding like chunks', post('Transfer-Encoding: xchunked') + `0\r\n\r\n${SMUGGLED}`],
    ['a vertical tab before the coding', post('Transfer-Encoding: \x0bchunked') + `0\r\n\r\n${SMUGGLED}`],
    ['a folded line', post('Transfer-Encoding:', ' chunked') + `0\r\n\r\n${SMUGGLED}`],
    ['a space before the colon', post('Transfer-Encoding : chunked') + `0\r\n\r\n${SMUGGLED}`],
    ['lines that end in LF', post('Content-Length: 0').replaceAll('\r', '') + SMUGGLED],
    ['one line that ends in LF', post('X: y\nContent-Length: 0') + SMUGGLED],
    ['one line that ends in CR', post('X: y\rContent-Length: 0') + SMUGGLED],
    ['a chunk size with LF', post('Transfer-Encoding: chunked') + `0\n\n${SMUGGLED}`],
    ['a chunk size with 0x', post('Transfer-Encoding: chunked') + `0x0\r\n\r\n${SMUGGLED}`],
    ['a chunk size with a space', post('Transfer-Encoding: chunked') + `0 \r\n\r\n${SMUGGLED}`],
    ['a chunk extension with LF', post('Transfer-Encoding: chunked') + `0;a\nb\r\n\r\n${SMUGGLED}`],
    ['a chunk longer than it says', post('Transfer-Encoding: chunked') + `1\r\n{}\r\n0\r\n\r\n${SMUGGLED}`],
    [
      'chunks in HTTP/1.0',
      post('Transfer-Encoding: chunked', 'Connection: keep-alive').replace('1.1', '1.0') +
        `0\r\n\r\n${SMUGGLED}`,
    ],
    ['two hosts', `GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n${SMUGGLED}`],
    ['no host', `GET /healthz HTTP/1.1\r\n\r\n${SMUGGLED}`],
    [
      'an offer to upgrade, chunks and a length',
      post('Connection: Upgrade', 'Upgrade: h2c', 'Content-Length: 4', 'Transfer-Encoding: chunked') +
        `0\r\n\r\n${SMUGGLED}`,
    ],
    [
      'two hosts and an offer to upgrade',
      `GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n${SMUGGLED}`,
    ],
  ])('%s', async (_, bytes) => {
    expect(await statuses(bytes)).toEqual([400]);
  });

  test('a version before 1.0, which has neither headers nor statuses', async () => {
    expect(await statuses(`GET /healthz\r\n\r\n${SMUGGLED}`)).toEqual([505]);
  });
});

describe('a body is read to its end, whatever becomes of the request', () => {
  const inner = 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n';
  const last = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
  test.each<readonly [string, string, number]>([
    ['nobody may submit', 'POST /api/jobs', 401],
    ['there is no such route', 'POST /nowhere', 404],
    ['a route takes none', 'GET /healthz', 200],
    ['a job is not there', 'DELETE /api/jobs/x', 401],
    ['it is no JSON', 'POST /api/auth/login', 400],
  ])('%s', async (_, line, status) => {
    const request = `${line} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${inner.length}\r\n\r\n`;
    expect(await statuses(request + inner + last)).toEqual([status, 200]);
  });
});

describe('an offer to upgrade that is passed over', () => {
  const offer = (version: string, connection: string): string =>
    `GET /healthz HTTP/${version}\r\nHost: x\r\nConnection: ${connection}\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n`;
  test.each<readonly [string, string]>([
    ['closes where the client asks for it', offer('1.1', 'Upgrade, HTTP2-Settings, close')],
    ['closes after HTTP/1.0', offer('1.0', 'Upgrade')],
  ])('%s', async (_, bytes) => {
    expect(await statuses(bytes)).toEqual([200]);
  });

  test('may be made again and again', async () => {
    const warnings: Error[] = [];
    const listen = (warning: Error): void => void warnings.push(warning);
    process.on('warning', listen);
    const many = Array.from({ length: 30 }, () => offer('1.1', 'Upgrade')).join('') + offer('1.1', 'close');
    expect(await statuses(many)).toEqual(Array.from({ length: 31 }, () => 200));
    process.off('warning', listen);
    expect(warnings).toEqual([]);
  });
});

describe('a WebSocket handshake that is none', () => {
  const handshake = (method: string, ...headers: string[]): string =>
    [
      `${method} /ws HTTP/1.1`,
      'Host: x',
      'Connection: Upgrade',
      'Upgrade: websocket',
      ...headers,
      '',
      '',
    ].join('\r\n');
  const KEY = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==';
  test.each<readonly [string, string]>([
    ['without a key', handshake('GET', 'Sec-WebSocket-Version: 13')],
    ['with a key of another length', handshake('GET', 'Sec-WebSocket-Key: x', 'Sec-WebSocket-Version: 13')],
    ['of a version that does not exist', handshake('GET', KEY, 'Sec-WebSocket-Version: 99')],
    ['by POST', handshake('POST', KEY, 'Sec-WebSocket-Version: 13')],
    [
      'with a protocol twice',
      handshake('GET', KEY, 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Protocol: a, a'),
    ],
  ])('%s is refused in the error format', async (_, bytes) => {
    const { status, headers, text } = await sendRaw(target.base, bytes);
    expect([status, JSON.parse(text)]).toEqual([400, { success: false, message: 'Bad Request' }]);
    expect(headers['content-type']).toMatch(/^application\/json/);
  });
});

describe('control characters', () => {
  test.each(['\x00', '\x1b[31m', '\x7f', '\x9b31m', '\xff', '\t', '\x0b'])(
    '%j in a path reach nothing',
    async (text) => {
      expect(
        await statuses(
          `GET /api/jobs/${text} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${user.apiKey}\r\n\r\n`,
        ),
      ).toEqual([400]);
    },
  );
});
