import { createHmac, randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import { silentLogger } from '../support/database.ts';
import { httpClient } from '../support/http-client.ts';
import { rawRequest, sendRaw } from '../support/raw-http.ts';
import type { RawAnswer } from '../support/raw-http.ts';
import { startService } from '../support/service.ts';
import type { Service } from '../support/service.ts';

let service: Service;
let database: ReturnType<typeof createDatabase>;
let auth: string;
let jobId: string;
const email = `${randomUUID()}@example.com`;
const password = 'securepassword123';

beforeAll(async () => {
  service = await startService({ RATE_LIMIT_JOBS_PER_MINUTE: '100000', ROLES: 'api' });
  database = createDatabase({
    url: service.databaseUrl!,
    max: 1,
    applicationName: 'test',
    logger: silentLogger,
  });
  const call = httpClient(`${service.base}/api`);
  const account = (await call('POST', '/auth/register', { body: { email, password } })).body.data;
  const { apiKey } = account as { apiKey: string };
  auth = `Authorization: Bearer ${apiKey}`;
  const job = await call('POST', '/jobs', { token: apiKey, body: { type: 't', payload: { n: 1 } } });
  jobId = (job.body.data as { id: string }).id;
});
afterAll(async () => {
  await database.close();
  await service.stop();
});

/** How much there is of what a request could have written. */
async function written(): Promise<unknown> {
  const { rows } = await database.query(
    `SELECT (SELECT count(*) FROM users) AS users, (SELECT count(*) FROM refresh_tokens) AS tokens,
            (SELECT count(*) FROM eventstore.events) AS events`,
  );
  return rows[0];
}

const JSON_TYPE = 'Content-Type: application/json';
const send = (method: string, target: string, headers: string[] = [], body: string | Buffer | null = null) =>
  sendRaw(service.base, rawRequest(method, target, headers, body));
const submit = (body: string | Buffer, ...headers: string[]) =>
  send('POST', '/api/jobs', [auth, JSON_TYPE, ...headers], body);
const submitJob = (job: object) => submit(JSON.stringify(job));
const payload = (text: string) => submit(`{"type":"t","payload":${text}}`);
const authenticate = (path: string, body: unknown) =>
  send('POST', `/api/auth/${path}`, [JSON_TYPE], JSON.stringify(body));
const get = (target: string, ...headers: string[]) => send('GET', target, [auth, ...headers]);

type Case = readonly [name: string, request: () => Promise<RawAnswer>, message: string | readonly string[]];

/** Expects the error format with this message, or a validation error of these fields. */
function expectRefusal({ status, headers, text }: RawAnswer, expected: number, what: Case[2]): void {
  expect([status, text]).toEqual([expected, text]);
  expect(headers['content-type']).toBe('application/json; charset=utf-8');
  const body = JSON.parse(text) as { errors?: Record<string, string[]> };
  if (typeof what === 'string') expect(body).toEqual({ success: false, message: what });
  else {
    expect(body).toMatchObject({ success: false, message: 'Validation error' });
    expect(Object.keys(body.errors ?? {})).toEqual(what);
  }
}

let before: unknown;
beforeEach(async () => {
  before = await written();
});

function refused(status: number, cases: readonly Case[]): void {
  test.each(cases)('%s', async (_, request, what) => {
    expectRefusal(await request(), status, what);
  });
}

/** After each request that is refused, nothing is there that was not, and the service answers as before. */
function describeRefusals(name: string, define: () => void): void {
  describe(name, () => {
    afterEach(async () => {
      expect(await written()).toEqual(before);
      const { status, text } = await get(`/api/jobs/${jobId}`);
      expect(status).toBe(200);
      expect(JSON.parse(text)).toMatchObject({
        success: true,
        data: { status: 'PENDING', payload: { n: 1 } },
      });
    });
    define();
  });
}

const MEDIA = 'Unsupported Media Type: send JSON as application/json, in UTF-8 and not compressed';
const LARGE = 'Request body too large: at most 512 KiB';
const nested = (open: string, close: string, levels: number): string =>
  `${open.repeat(levels)}1${close.repeat(levels)}`;
const fine = { type: 't', payload: {} };

describeRefusals('what is no JSON', () => {
  refused(400, [
    ['an empty body', () => submit(''), ['type', 'payload']],
    ['null', () => submit('null'), 'Invalid JSON'],
    ['an array', () => submit('[{"type":"t","payload":{}}]'), ['body']],
    ['a string', () => submit('"text"'), 'Invalid JSON'],
    ['a number', () => submit('42'), 'Invalid JSON'],
    ['a body that breaks off', () => submit('{"type":"t","payload":{'), 'Invalid JSON'],
    ['something behind the end', () => submit('{"type":"t","payload":{}} {}'), 'Invalid JSON'],
    ['single quotes', () => submit("{'type':'t','payload':{}}"), 'Invalid JSON'],
    ['NaN', () => payload('{"n":NaN}'), 'Invalid JSON'],
    ['a raw control character in a string', () => payload('{"a":"\u0001"}'), 'Invalid JSON'],
    [
      'bytes that are not UTF-8',
      () => submit(Buffer.from([0x7b, 0xff, 0xfe, 0x7d])),
      'Request body is not valid UTF-8',
    ],
    [
      'an overlong NUL',
      () =>
        submit(
          Buffer.concat([
            Buffer.from('{"type":"'),
            Buffer.from([0xc0, 0x80]),
            Buffer.from('","payload":{}}'),
          ]),
        ),
      'Request body is not valid UTF-8',
    ],
    [
      'a surrogate in UTF-8',
      () =>
        submit(
          Buffer.concat([
            Buffer.from('{"type":"'),
            Buffer.from([0xed, 0xa0, 0x80]),
            Buffer.from('","payload":{}}'),
          ]),
        ),
      'Request body is not valid UTF-8',
    ],
  ]);
});

describeRefusals('what cannot be read', () => {
  refused(415, [
    ['no Content-Type', () => send('POST', '/api/jobs', [auth], JSON.stringify(fine)), MEDIA],
    [
      'a form',
      () => send('POST', '/api/jobs', [auth, 'Content-Type: application/x-www-form-urlencoded'], 'type=t'),
      MEDIA,
    ],
    [
      'plain text',
      () => send('POST', '/api/jobs', [auth, 'Content-Type: text/plain'], JSON.stringify(fine)),
      MEDIA,
    ],
    [
      'a media type like JSON',
      () => send('POST', '/api/jobs', [auth, 'Content-Type: application/jsonp'], '{}'),
      MEDIA,
    ],
    [
      'a Content-Type that is none',
      () => send('POST', '/api/jobs', [auth, 'Content-Type: ;;;'], '{}'),
      MEDIA,
    ],
    [
      'UTF-16',
      () =>
        send(
          'POST',
          '/api/jobs',
          [auth, `${JSON_TYPE}; charset=utf-16le`],
          Buffer.from(JSON.stringify(fine), 'utf16le'),
        ),
      MEDIA,
    ],
    [
      'UTF-7, in which anything can hide',
      () => send('POST', '/api/jobs', [auth, `${JSON_TYPE}; charset=utf-7`], '+AHs-+AH0-'),
      MEDIA,
    ],
    ['Latin-1', () => send('POST', '/api/jobs', [auth, `${JSON_TYPE}; charset=latin1`], '{}'), MEDIA],
    [
      'a charset that does not exist',
      () => send('POST', '/api/jobs', [auth, `${JSON_TYPE}; charset=utf-99`], '{}'),
      MEDIA,
    ],
    ['a gzip bomb', () => submit(gzipSync(Buffer.alloc(50_000_000, ' ')), 'Content-Encoding: gzip'), MEDIA],
    ['any compression', () => submit(gzipSync('{}'), 'Content-Encoding: br'), MEDIA],
    ['two compressions', () => submit(gzipSync(gzipSync('{}')), 'Content-Encoding: gzip, gzip'), MEDIA],
  ]);
});

describeRefusals('what is too large', () => {
  const chunked = (text: string): Buffer =>
    rawRequest(
      'POST',
      '/api/jobs',
      [auth, JSON_TYPE, 'Transfer-Encoding: chunked'],
      `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n0\r\n\r\n`,
    );
  const large = JSON.stringify({ type: 't', payload: { a: 'x'.repeat(524_288) } });
  refused(413, [
    ['a body of more than 512 KiB', () => submit(large), LARGE],
    ['the same in chunks', () => sendRaw(service.base, chunked(large)), LARGE],
    ['the same to log in with', () => send('POST', '/api/auth/login', [JSON_TYPE], large), LARGE],
    [
      'chunk extensions without end',
      () =>
        sendRaw(
          service.base,
          rawRequest(
            'POST',
            '/api/jobs',
            [auth, JSON_TYPE, 'Transfer-Encoding: chunked'],
            `2;${'x'.repeat(20_000)}\r\n{}\r\n0\r\n\r\n`,
          ),
        ),
      'Payload Too Large',
    ],
  ]);
  refused(431, [
    [
      'a header of 17 KiB',
      () => get('/api/jobs', `X-Padding: ${'x'.repeat(17_000)}`),
      'Request Header Fields Too Large',
    ],
    ['a path of 17 KiB', () => get(`/api/jobs/${'x'.repeat(17_000)}`), 'Request Header Fields Too Large'],
    [
      'a thousand cookies',
      () => get('/api/jobs', ...Array.from({ length: 1_000 }, (_, n) => `Cookie: c${n}=${'x'.repeat(16)}`)),
      'Request Header Fields Too Large',
    ],
  ]);
});

describeRefusals('payloads that would not come back as they were sent', () => {
  refused(400, [
    ['a number beyond the largest', () => payload('{"n":1e400}'), ['payload.n']],
    ['a number below the least', () => payload('{"n":-1e400}'), ['payload.n']],
    ['an integer that would be rounded', () => payload('{"n":12345678901234567890}'), ['payload.n']],
    ['NUL', () => payload('{"a":"\\u0000"}'), ['payload.a']],
    ['NUL in a key', () => payload('{"a\\u0000b":1}'), ['payload']],
    ['half a surrogate pair', () => payload('{"a":["\\ud800"]}'), ['payload.a.0']],
    ['the other half', () => payload('{"a":"\\udc00x"}'), ['payload.a']],
    ['half a pair in a key', () => payload('{"\\udfff":1}'), ['payload']],
    ['objects 33 deep', () => payload(nested('{"a":', '}', 33)), ['payload']],
    ['arrays 33 deep', () => payload(`{"a":${nested('[', ']', 32)}}`), ['payload']],
    ['arrays 100,000 deep', () => payload(`{"a":${nested('[', ']', 100_000)}}`), ['payload']],
    ['objects 80,000 deep', () => payload(nested('{"a":', '}', 80_000)), ['payload']],
    ['a key that sets a prototype', () => payload('{"__proto__":{"admin":true}}'), ['payload']],
    ['the same further down', () => payload('{"a":[{"__proto__":[]}]}'), ['payload.a.0']],
    ['no payload', () => submitJob({ type: 't' }), ['payload']],
    ['null for a payload', () => payload('null'), ['payload']],
    ['an array for a payload', () => payload('[]'), ['payload']],
    ['a string for a payload', () => payload('"{}"'), ['payload']],
  ]);
});

describeRefusals('fields of a submission', () => {
  refused(400, [
    ['no type', () => submitJob({ payload: {} }), ['type']],
    ['an empty type', () => submitJob({ ...fine, type: '' }), ['type']],
    ['a type of 101 characters', () => submitJob({ ...fine, type: 'x'.repeat(101) }), ['type']],
    ['a type with a line break', () => submitJob({ ...fine, type: 'a\r\nb' }), ['type']],
    ['a type with NUL', () => submitJob({ ...fine, type: 'a\0' }), ['type']],
    ['a type with a C1 control', () => submitJob({ ...fine, type: 'a\u0085' }), ['type']],
    ['a type of half a surrogate pair', () => submit('{"type":"\\ud83d","payload":{}}'), ['type']],
    ['a number for a type', () => submitJob({ ...fine, type: 7 }), ['type']],
    ['an object for a type', () => submitJob({ ...fine, type: { toString: 't' } }), ['type']],
    ['null for a type', () => submitJob({ ...fine, type: null }), ['type']],
    ['a file for a webhook', () => submitJob({ ...fine, webhookUrl: 'file:///etc/passwd' }), ['webhookUrl']],
    [
      'a script for a webhook',
      () => submitJob({ ...fine, webhookUrl: 'javascript:alert(1)' }),
      ['webhookUrl'],
    ],
    [
      'a line break in a webhook',
      () => submitJob({ ...fine, webhookUrl: 'http://a.example/\r\nX: y' }),
      ['webhookUrl'],
    ],
    [
      'a webhook of 2,049 characters',
      () => submitJob({ ...fine, webhookUrl: `https://a.example/${'x'.repeat(2_031)}` }),
      ['webhookUrl'],
    ],
    ['attempts in words', () => submitJob({ ...fine, maxAttempts: '3' }), ['maxAttempts']],
    ['endless attempts', () => submit('{"type":"t","payload":{},"maxAttempts":1e400}'), ['maxAttempts']],
    ['a time limit of half a millisecond', () => submitJob({ ...fine, timeoutMs: 0.5 }), ['timeoutMs']],
    ['a start in the year 275760', () => submitJob({ ...fine, runAt: '+275760-09-13T00:00:00Z' }), ['runAt']],
  ]);
});

describeRefusals('queries', () => {
  const wrong: readonly (readonly [query: string, field: string])[] = [
    ['page=0', 'page'],
    ['page=-1', 'page'],
    ['page=1.5', 'page'],
    ['page=1e1', 'page'],
    ['page=0x10', 'page'],
    ['page=%201', 'page'],
    ['page=', 'page'],
    ['page=99999999999999999999', 'page'],
    ['page=1%00', 'page'],
    ['page=%D9%A1', 'page'],
    ['limit=0', 'limit'],
    ['limit=101', 'limit'],
    ['limit=ten', 'limit'],
    ['limit=10&limit=10', 'limit'],
    ['status=done', 'status'],
    ['status=UNKNOWN', 'status'],
    ["status=DONE'%20OR%20'1'='1", 'status'],
    ['status=DONE&status=FAILED', 'status'],
    ['status=constructor', 'status'],
  ];
  refused(
    400,
    wrong.map(([query, field]) => [query, () => get(`/api/jobs?${query}`), [field]]),
  );
  refused(400, [
    ['minRevision=-1', () => get(`/api/jobs/${jobId}?minRevision=-1`), ['minRevision']],
    ['minRevision twice', () => get(`/api/jobs/${jobId}?minRevision=0&minRevision=0`), ['minRevision']],
    ['force=maybe', () => send('DELETE', `/api/jobs/${jobId}?force=maybe`, [auth]), ['force']],
  ]);
});

describeRefusals('paths and methods', () => {
  const NO_JOB = 'Job not found';
  const NO_ROUTE = 'Route not found';
  refused(404, [
    ['NUL for an id', () => get('/api/jobs/%00'), NO_JOB],
    ['dots for an id', () => get('/api/jobs/%2e%2e'), NO_JOB],
    ['an encoded slash', () => get(`/api/jobs/${'x%2F'.repeat(3)}logs`), NO_JOB],
    ['an encoded slash before a real suffix', () => get(`/api/jobs/${jobId}%2Flogs`), NO_JOB],
    ['an id twice encoded', () => get('/api/jobs/%2500'), NO_JOB],
    ['an id of 8,000 characters', () => get(`/api/jobs/${'x'.repeat(8_000)}`), NO_JOB],
    ['a quote in an id', () => get(`/api/jobs/${jobId}'--`), NO_JOB],
    ['an id with a line break', () => get(`/api/jobs/${jobId}%0d%0aX-Injected:%201`), NO_JOB],
    ['a prototype key for an id', () => get('/api/jobs/__proto__'), NO_JOB],
    ['a way out of the root', () => get('/api/../../../etc/passwd'), NO_ROUTE],
    ['the same, encoded', () => get('/api/%2e%2e/%2e%2e/etc/passwd'), NO_ROUTE],
    ['backslashes', () => get('/api\\jobs'), NO_ROUTE],
    ['two slashes', () => get('//api//jobs'), NO_ROUTE],
    ['PUT', () => send('PUT', `/api/jobs/${jobId}`, [auth, JSON_TYPE], JSON.stringify(fine)), NO_ROUTE],
    ['PATCH', () => send('PATCH', `/api/jobs/${jobId}`, [auth, JSON_TYPE], '{"status":"DONE"}'), NO_ROUTE],
    ['TRACE, which would show the headers', () => send('TRACE', '/api/jobs', [auth]), NO_ROUTE],
    ['DELETE of all jobs', () => send('DELETE', '/api/jobs', [auth]), NO_ROUTE],
  ]);
  refused(400, [
    ['half an escape', () => get('/api/jobs/%'), 'Bad Request'],
    ['an escape that is no UTF-8', () => get('/api/jobs/%E0%A4'), 'Bad Request'],
  ]);

  test.each([
    ['X-HTTP-Method-Override: DELETE', 'GET'],
    ['X-HTTP-Method: DELETE', 'GET'],
    ['X-Method-Override: DELETE', 'GET'],
  ])('%s overrides nothing', async (header, method) => {
    expect((await send(method, `/api/jobs/${jobId}?_method=DELETE`, [auth, header])).status).toBe(200);
  });

  test('HEAD tells what GET would, without the body', async () => {
    const { status, headers, text } = await send('HEAD', `/api/jobs/${jobId}`, [auth]);
    expect([status, headers['etag'], text]).toEqual([200, '"0"', '']);
    expect((await send('HEAD', `/api/jobs/${jobId}`)).status).toBe(401);
  });

  test('OPTIONS lets no other origin in', async () => {
    const { status, headers } = await send('OPTIONS', '/api/jobs', ['Origin: https://evil.example']);
    expect(status).toBe(200);
    expect(headers['allow']).toContain('POST');
    expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
  });
});

describeRefusals('what is hardly HTTP', () => {
  const raw = (text: string | Buffer) => () => sendRaw(service.base, text);
  const head = 'POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n';
  refused(400, [
    ['a greeting of TLS', raw(Buffer.from('16030100c5010000c10303', 'hex')), 'Bad Request'],
    ['a method that does not exist', raw('STEAL /api/jobs HTTP/1.1\r\nHost: x\r\n\r\n'), 'Bad Request'],
    ['a space in the path', raw('GET /api/jobs /x HTTP/1.1\r\nHost: x\r\n\r\n'), 'Bad Request'],
    ['a version that does not exist', raw('GET / HTTP/9.9\r\nHost: x\r\n\r\n'), 'Bad Request'],
    ['a header without a colon', raw('GET / HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n'), 'Bad Request'],
    ['NUL in a header', raw('GET / HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n'), 'Bad Request'],
    ['a space before the colon', raw(`${head}Content-Length : 2\r\n\r\n{}`), 'Bad Request'],
    ['no host', raw('GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n'), 'Bad Request'],
    ['two lengths', raw(`${head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x`), 'Bad Request'],
    ['a length below zero', raw(`${head}Content-Length: -1\r\n\r\n`), 'Bad Request'],
    [
      'a length and chunks',
      raw(`${head}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`),
      'Bad Request',
    ],
    [
      'a transfer coding nobody knows',
      raw(`${head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`),
      'Bad Request',
    ],
    [
      'a chunk of no size',
      raw(rawRequestText([JSON_TYPE, 'Transfer-Encoding: chunked'], 'zz\r\n{}\r\n0\r\n\r\n')),
      'Bad Request',
    ],
  ]);
  refused(417, [
    ['an expectation nobody can meet', () => submit('{}', 'Expect: the-impossible'), 'Expectation Failed'],
  ]);

  test('CONNECT makes no proxy of the service', async () => {
    const { status } = await sendRaw(
      service.base,
      'CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n',
    );
    expect(status).toBe(0);
  });

  test('a body that breaks off is not taken for a whole one', async () => {
    const bytes = rawRequest(
      'POST',
      '/api/jobs',
      [auth, JSON_TYPE, 'Content-Length: 1000'],
      JSON.stringify(fine),
    );
    const { hostname, port } = new URL(service.base);
    const socket = connect(Number(port), hostname);
    await new Promise<void>((resolve) => socket.write(bytes, () => resolve()));
    socket.destroy();
  });
});

function rawRequestText(headers: string[], body: string): Buffer {
  return rawRequest('POST', '/api/auth/login', headers, body);
}

describeRefusals('accounts', () => {
  const credentials = { email: 'someone@example.com', password };
  refused(400, [
    ['no fields', () => authenticate('register', {}), ['email', 'password']],
    ['an address without @', () => authenticate('register', { ...credentials, email: 'someone' }), ['email']],
    [
      'an address of 255 characters',
      () => authenticate('register', { ...credentials, email: longEmail(255) }),
      ['email'],
    ],
    [
      'a line break in an address',
      () => authenticate('register', { ...credentials, email: 'a\r\nBcc: b@example.com' }),
      ['email'],
    ],
    [
      'NUL in an address',
      () => authenticate('register', { ...credentials, email: 'a\0@example.com' }),
      ['email'],
    ],
    ['a list of addresses', () => authenticate('register', { ...credentials, email: [email] }), ['email']],
    [
      'an operator for an address',
      () => authenticate('register', { ...credentials, email: { $ne: null } }),
      ['email'],
    ],
    [
      'a password of 7 characters',
      () => authenticate('register', { ...credentials, password: '7777777' }),
      ['password'],
    ],
    [
      'a password of 73 bytes',
      () => authenticate('register', { ...credentials, password: 'x'.repeat(73) }),
      ['password'],
    ],
    [
      'a password of 76 bytes in 38 characters',
      () => authenticate('register', { ...credentials, password: '😀'.repeat(19) }),
      ['password'],
    ],
    [
      'NUL in a password',
      () => authenticate('register', { ...credentials, password: 'password\0x' }),
      ['password'],
    ],
    ['null for a password', () => authenticate('register', { ...credentials, password: null }), ['password']],
    [
      'an address that is taken, in capitals',
      () => authenticate('register', { email: email.toUpperCase(), password }),
      'Email already registered',
    ],
    ['an object for a token', () => authenticate('refresh', { refreshToken: {} }), ['refreshToken']],
    ['a list of tokens', () => authenticate('logout', { refreshToken: ['x'] }), ['refreshToken']],
  ]);
  refused(401, [
    [
      'NUL in the address to log in with',
      () => authenticate('login', { email: `${email}\0`, password }),
      'Invalid email or password',
    ],
    [
      'half a megabyte of an address',
      () => authenticate('login', { email: 'x'.repeat(500_000), password }),
      'Invalid email or password',
    ],
    [
      'half a megabyte of a password',
      () => authenticate('login', { email, password: 'x'.repeat(500_000) }),
      'Invalid email or password',
    ],
    [
      'a password with something behind it',
      () => authenticate('login', { email, password: `${password}\0x` }),
      'Invalid email or password',
    ],
    [
      'an address like SQL',
      () => authenticate('login', { email: "' OR 1=1 --", password }),
      'Invalid email or password',
    ],
    [
      'a refresh token like SQL',
      () => authenticate('refresh', { refreshToken: "' OR 1=1 --" }),
      'Invalid refresh token',
    ],
    [
      'half a megabyte of a refresh token',
      () => authenticate('refresh', { refreshToken: 'x'.repeat(500_000) }),
      'Invalid refresh token',
    ],
  ]);
});

function longEmail(length: number): string {
  const domain = `@${'d'.repeat(60)}.${'e'.repeat(60)}.${'f'.repeat(60)}.example`;
  return 'x'.repeat(length - domain.length) + domain;
}

describeRefusals('credentials', () => {
  const token = (header: object, key: string): string => {
    const claims = {
      sub: randomUUID(),
      typ: 'access',
      iss: 'asyncly',
      aud: 'asyncly-api',
      exp: 4_000_000_000,
    };
    const text = [header, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.');
    return `${text}.${key === '' ? '' : createHmac('sha256', key).update(text).digest('base64url')}`;
  };
  const BAD_TOKEN = 'Access token required';
  const as = (header: string) => () => send('GET', '/api/jobs', [header]);
  refused(401, [
    ['none', () => send('GET', '/api/jobs'), 'Access token required'],
    ['a scheme without a token', as('Authorization: Bearer'), 'Access token required'],
    [
      'another scheme',
      as(`Authorization: Basic ${Buffer.from('a:b').toString('base64')}`),
      'Access token required',
    ],
    [
      'a token that is not signed',
      as(`Authorization: Bearer ${token({ alg: 'none', typ: 'JWT' }, '')}`),
      BAD_TOKEN,
    ],
    [
      'a token signed with a guess',
      as(`Authorization: Bearer ${token({ alg: 'HS256', typ: 'JWT' }, 'secret')}`),
      BAD_TOKEN,
    ],
    [
      'a token that names a key of its own',
      as(
        `Authorization: Bearer ${token({ alg: 'HS256', kid: '/dev/null', jku: 'https://evil.example' }, '\0')}`,
      ),
      BAD_TOKEN,
    ],
    ['a token of 8,000 characters', as(`Authorization: Bearer ${'x'.repeat(8_000)}`), BAD_TOKEN],
    ['a token that is no JSON', as('Authorization: Bearer a.b.c'), BAD_TOKEN],
    ['a key like SQL', as("X-API-Key: ak_' OR '1'='1"), 'Invalid API key'],
    [
      'the token in the query',
      () => send('GET', `/api/jobs?token=${'x'.repeat(20)}&access_token=x`),
      'Access token required',
    ],
  ]);
});

describe('what looks hostile and is not', () => {
  const accepted: readonly (readonly [name: string, request: () => Promise<RawAnswer>, data: object])[] = [
    ['a byte order mark', () => submit(`\uFEFF${JSON.stringify(fine)}`), fine],
    [
      'chunks',
      () =>
        submit(`e\r\n{"type":"chunk\r\n10\r\ns","payload":{}}\r\n0\r\n\r\n`, 'Transfer-Encoding: chunked'),
      { type: 'chunks' },
    ],
    ['an expectation of 100 Continue', () => submit(JSON.stringify(fine), 'Expect: 100-continue'), fine],
    [
      'a key twice: the last one counts',
      () => submit('{"type":"first","type":"second","payload":{"a":1,"a":2}}'),
      { type: 'second', payload: { a: 2 } },
    ],
    [
      'fields that nobody knows: they are ignored',
      () => submitJob({ ...fine, id: jobId, userId: 'x', status: 'DONE', result: 1 }),
      { status: 'PENDING', result: null },
    ],
    [
      'a prototype beside the fields',
      () => submit('{"__proto__":{"type":"evil"},"constructor":1,"type":"t","payload":{}}'),
      fine,
    ],
    [
      'a type named like a property of every object',
      () => submitJob({ ...fine, type: 'constructor' }),
      { type: 'constructor' },
    ],
    ['a type named __proto__', () => submitJob({ ...fine, type: '__proto__' }), { type: '__proto__' }],
    ['a type of 100 characters', () => submitJob({ ...fine, type: 'ä'.repeat(100) }), {}],
    ['a payload 32 deep', () => payload(nested('{"a":', '}', 32)), {}],
    [
      'escapes, emoji and line separators',
      () => payload('{"a":"\\ud83d\\ude00 \u2028 \\" \\\\ </script>"}'),
      { payload: { a: '😀 \u2028 " \\ </script>' } },
    ],
    [
      'the largest numbers that are exact',
      () => payload('{"n":[9007199254740991,-9007199254740991,1e21,1.7976931348623157e308,5e-324]}'),
      {},
    ],
    [
      'a Content-Type in capitals, with a charset',
      () =>
        send(
          'POST',
          '/api/jobs',
          [auth, 'CONTENT-TYPE: Application/JSON; Charset="UTF-8"'],
          JSON.stringify(fine),
        ),
      fine,
    ],
  ];
  test.each(accepted)('%s', async (_, request, data) => {
    const { status, text } = await request();
    expect([status, text]).toEqual([201, text]);
    expect(JSON.parse(text)).toMatchObject({ success: true, data });
    expect({}).not.toHaveProperty('admin');
  });

  test('the longest address and password there may be', async () => {
    const account = { email: longEmail(254), password: 'ä'.repeat(36) };
    expect((await authenticate('register', account)).status).toBe(201);
    const capitals = { ...account, email: account.email.toUpperCase() };
    expect((await authenticate('login', capitals)).status).toBe(200);
  });

  test.each(['page[]=1', 'page[$gt]=1', '__proto__[admin]=1', 'unknown=1&unknown=2', '%00=1', '&&&='])(
    'a parameter that nobody knows: %s',
    async (query) => {
      expect((await get(`/api/jobs?${query}`)).status).toBe(200);
      expect({}).not.toHaveProperty('admin');
    },
  );

  test('an absolute target names no other place than this', async () => {
    expect((await get(`http://evil.example/api/jobs/${jobId}`)).status).toBe(200);
  });
});
