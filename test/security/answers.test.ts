import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rawRequest, sendRaw } from '../support/raw-http.ts';
import { startTarget } from '../support/target.ts';
import type { Target, TargetUser } from '../support/target.ts';

let target: Target;
let user: TargetUser;

beforeAll(async () => {
  target = await startTarget({ ROLES: 'api', RATE_LIMIT_AUTH_PER_MINUTE: '1' });
  user = await target.newUser();
});
afterAll(() => target.stop());

const JSON_TYPE = 'Content-Type: application/json';
const send = (method: string, path: string, headers: string[] = [], body: string | null = null) =>
  sendRaw(target.base, rawRequest(method, path, headers, body));
const own = (): string => `Authorization: Bearer ${user.apiKey}`;

type Ask = (...headers: string[]) => ReturnType<typeof send>;
const login = '{"email":"someone@example.com","password":"a guess"}';

/** Answers of every kind. */
const kinds: readonly (readonly [number, Ask])[] = [
  [200, (...headers) => send('GET', '/healthz', headers)],
  [200, (...headers) => send('GET', '/api/jobs', [own(), ...headers])],
  [
    201,
    (...headers) => send('POST', '/api/jobs', [own(), JSON_TYPE, ...headers], '{"type":"t","payload":{}}'),
  ],
  [400, (...headers) => send('POST', '/api/jobs', [own(), JSON_TYPE, ...headers], '{"type":')],
  [400, (...headers) => send('GET', '/api/jobs/%ff', [own(), ...headers])],
  [401, (...headers) => send('GET', '/api/jobs', headers)],
  [404, (...headers) => send('GET', '/nowhere', headers)],
  [404, (...headers) => send('GET', '/api/jobs/x', [own(), ...headers])],
  [415, (...headers) => send('POST', '/api/jobs', [own(), 'Content-Type: text/xml', ...headers], '<a/>')],
  [429, (...headers) => send('POST', '/api/auth/login', [JSON_TYPE, ...headers], login)],
];

describe('every answer', () => {
  // The one login that is allowed.
  beforeAll(() => kinds.at(-1)![1]());

  test.each(kinds)(
    'of %i has the headers that keep browsers in check, and tells nothing of its making',
    async (status, ask) => {
      const { status: answered, headers, text } = await ask();
      expect([answered, text]).toEqual([status, text]);
      expect(headers).toMatchObject({
        'content-security-policy': expect.stringContaining("default-src 'self'") as string,
        'cross-origin-opener-policy': 'same-origin',
        'cross-origin-resource-policy': 'same-origin',
        'referrer-policy': 'no-referrer',
        'strict-transport-security': expect.stringMatching(/^max-age=\d{7,}/) as string,
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'SAMEORIGIN',
        'content-type': 'application/json; charset=utf-8',
      });
      expect(Object.keys(headers)).not.toContain('x-powered-by');
      expect(Object.keys(headers)).not.toContain('server');
      expect(text).not.toMatch(/node_modules|\.ts\b|\.js:\d|Error:|express|postgres|SELECT /i);
    },
  );

  test.each(kinds)('of %i may be read by no page of another origin', async (_, ask) => {
    for (const origin of ['https://evil.example', 'null', target.base]) {
      const { headers } = await ask(`Origin: ${origin}`);
      expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
    }
  });

  test('to a question of a browser allows nothing', async () => {
    for (const path of ['/api/jobs', '/api/auth/login', '/api/webhooks/secret', '/healthz', '/nowhere']) {
      const asked = [
        'Origin: https://evil.example',
        'Access-Control-Request-Method: POST',
        'Access-Control-Request-Headers: authorization',
      ];
      const { headers } = await send('OPTIONS', path, asked);
      expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
    }
  });

  test.each([
    ['POST', '/api/auth/login', 'no-store'],
    ['GET', '/api/webhooks/secret', 'no-store'],
    ['GET', '/api/jobs', 'private, no-cache'],
    ['GET', '/readyz', 'no-store'],
  ])('to %s %s is kept by nobody but whom it is for', async (method, path, expected) => {
    const { headers } = await send(method, path, [own()]);
    expect(headers['cache-control']).toBe(expected);
  });
});

test('a fault of the service is answered without detail', async () => {
  await target.database.query('ALTER TABLE jobs RENAME TO jobs_gone');
  try {
    const { status, text } = await send('GET', '/api/jobs', [own()]);
    expect([status, JSON.parse(text)]).toEqual([500, { success: false, message: 'Internal server error' }]);
  } finally {
    await target.database.query('ALTER TABLE jobs_gone RENAME TO jobs');
  }
  expect((await send('GET', '/api/jobs', [own()])).status).toBe(200);
});

describe('methods', () => {
  test.each(['TRACE', 'PUT', 'PATCH', 'PROPFIND', 'SEARCH', 'LOCK', 'MERGE', 'PURGE', 'QUERY'])(
    '%s does nothing, and shows no header to who sent it',
    async (method) => {
      for (const path of ['/', '/api/jobs', '/healthz']) {
        const { status, text } = await send(method, path, [own(), 'X-Mark: seen-in-the-answer']);
        expect([status, JSON.parse(text)]).toEqual([404, { success: false, message: 'Route not found' }]);
      }
    },
  );

  test.each(['/api/jobs', '/api/webhooks/secret'])(
    'HEAD %s wants the same credential as GET, and has no body',
    async (path) => {
      const [refused, granted] = [await send('HEAD', path), await send('HEAD', path, [own()])];
      expect([refused.status, refused.text, granted.status, granted.text]).toEqual([401, '', 200, '']);
    },
  );

  test('OPTIONS names methods and nothing else', async () => {
    const { status, headers, text } = await send('OPTIONS', '/api/jobs', [own()]);
    expect([status, headers['allow'], text]).toEqual([200, 'GET, HEAD, POST', 'GET, HEAD, POST']);
  });
});

describe('paths', () => {
  // Whatever a path is taken for, nobody gets past the check by its spelling.
  test.each([
    '/API/JOBS',
    '/api/jobs/',
    '/api/jobs?',
    '/api/jobs#x',
    '/api/jobs;x=1',
    '/api/jobs%20',
    '/api/jobs%00',
    '/api/jobs.json',
    '/api//jobs',
    '//api/jobs',
    '/./api/jobs',
    '/api/./jobs',
    '/api/auth/../jobs',
    '/api/auth/..%2fjobs',
    '/api/auth/%2e%2e/jobs',
    '/healthz/../api/jobs',
    '/healthz/..;/api/jobs',
    '/%61pi/jobs',
    '/api%2fjobs',
    '/api/jobs/..',
    '/api\\jobs',
    'http://localhost/api/jobs',
    'http://user:password@localhost/api/jobs',
  ])('%s opens nothing', async (path) => {
    const { status, text } = await send('GET', path);
    expect([401, 404]).toContain(status);
    expect(JSON.parse(text)).toMatchObject({ success: false });
  });
});

describe('bodies that take more than they show', () => {
  // One of each kind: test/e2e/hostile-inputs has the others.
  const nested = (levels: number): string =>
    `{"type":"t","payload":${'{"a":'.repeat(levels)}0${'}'.repeat(levels)}}`;
  const submitted = async (): Promise<unknown> =>
    (await target.database.query('SELECT count(*) FROM eventstore.events')).rows;

  test.each([
    [
      'compressed',
      415,
      { message: 'Unsupported Media Type: send JSON as application/json, in UTF-8 and not compressed' },
      ['Content-Encoding: gzip'],
      gzipSync(nested(1)),
    ],
    [
      'huge',
      413,
      { message: 'Request body too large: at most 512 KiB' },
      [],
      JSON.stringify({ type: 't', payload: { a: 'x'.repeat(513 * 1_024) } }),
    ],
    [
      'deep',
      400,
      {
        message: 'Validation error',
        errors: { payload: ['Payload must not be nested deeper than 32 levels'] },
      },
      [],
      nested(33),
    ],
  ])(
    'one that is %s is refused with %i, and nothing is written',
    async (_, expected, error, headers, body) => {
      const before = await submitted();
      const { status, text } = await sendRaw(
        target.base,
        rawRequest('POST', '/api/jobs', [own(), JSON_TYPE, ...headers], body),
      );
      expect([status, JSON.parse(text)]).toEqual([expected, { success: false, ...error }]);
      expect(await submitted()).toEqual(before);
    },
  );

  test('as deep as may be is taken', async () => {
    expect((await send('POST', '/api/jobs', [own(), JSON_TYPE], nested(32))).status).toBe(201);
  });
});

describe('keys that reach for prototypes', () => {
  const clean = (): void => {
    expect(Object.keys(Object.prototype)).toEqual([]);
    for (const name of ['polluted', 'status', 'type', 'isAdmin'])
      expect(({} as Record<string, unknown>)[name]).toBeUndefined();
  };
  const POLLUTING =
    '{"__proto__":{"polluted":1,"type":"t"},"constructor":{"prototype":{"polluted":1,"isAdmin":true}}}';

  test.each(['/api/auth/register', '/api/auth/login', '/api/auth/refresh', '/api/auth/logout', '/api/jobs'])(
    'in a body for %s are no fields and no prototypes',
    async (path) => {
      const { status, text } = await send('POST', path, [own(), JSON_TYPE], POLLUTING);
      expect([400, 429]).toContain(status);
      expect(text).not.toContain('polluted');
      clean();
    },
  );

  test('in a payload are data, or refused', async () => {
    const payload = {
      constructor: { prototype: { polluted: 1 } },
      prototype: { polluted: 1 },
      toString: 'x',
      hasOwnProperty: 1,
    };
    const { status, text } = await send(
      'POST',
      '/api/jobs',
      [own(), JSON_TYPE],
      JSON.stringify({ type: 't', payload }),
    );
    expect([status, (JSON.parse(text) as { data: { payload: unknown } }).data.payload]).toEqual([
      201,
      payload,
    ]);
    const nested = '{"type":"t","payload":{"a":{"__proto__":{"polluted":1}}}}';
    expect((await send('POST', '/api/jobs', [own(), JSON_TYPE], nested)).status).toBe(400);
    clean();
  });

  test.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf', '__defineGetter__'])(
    '%s is no status, page or parameter',
    async (name) => {
      expect((await send('GET', `/api/jobs?status=${name}`, [own()])).status).toBe(400);
      expect((await send('GET', `/api/jobs?page=${name}`, [own()])).status).toBe(400);
      for (const query of [
        `${name}=1`,
        `${name}[polluted]=1`,
        `${name}.polluted=1`,
        `a[${name}][polluted]=1`,
      ])
        expect((await send('GET', `/api/jobs?${query}`, [own()])).status).toBe(200);
      expect((await send('GET', `/api/jobs/${name}`, [own()])).status).toBe(404);
      expect(
        (await send('GET', '/api/jobs', [own(), `${name}: polluted`, `Cookie: ${name}=polluted`])).status,
      ).toBe(200);
      clean();
    },
  );
});
