import { expect, test } from 'vitest';
import { describeRefusals, fine, JSON_TYPE } from './hostile.ts';

describeRefusals('queries', (target) => {
  const { send, get, refused } = target;
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
    ['minRevision=-1', () => get(`/api/jobs/${target.jobId}?minRevision=-1`), ['minRevision']],
    [
      'minRevision twice',
      () => get(`/api/jobs/${target.jobId}?minRevision=0&minRevision=0`),
      ['minRevision'],
    ],
    ['force=maybe', () => send('DELETE', `/api/jobs/${target.jobId}?force=maybe`, [target.auth]), ['force']],
  ]);
});

describeRefusals('paths and methods', (target) => {
  const { send, get, refused } = target;
  const NO_JOB = 'Job not found';
  const NO_ROUTE = 'Route not found';
  refused(404, [
    ['NUL for an id', () => get('/api/jobs/%00'), NO_JOB],
    ['dots for an id', () => get('/api/jobs/%2e%2e'), NO_JOB],
    ['an encoded slash', () => get(`/api/jobs/${'x%2F'.repeat(3)}logs`), NO_JOB],
    ['an encoded slash before a real suffix', () => get(`/api/jobs/${target.jobId}%2Flogs`), NO_JOB],
    ['an id twice encoded', () => get('/api/jobs/%2500'), NO_JOB],
    ['an id of 8,000 characters', () => get(`/api/jobs/${'x'.repeat(8_000)}`), NO_JOB],
    ['a quote in an id', () => get(`/api/jobs/${target.jobId}'--`), NO_JOB],
    ['an id with a line break', () => get(`/api/jobs/${target.jobId}%0d%0aX-Injected:%201`), NO_JOB],
    ['a prototype key for an id', () => get('/api/jobs/__proto__'), NO_JOB],
    ['a way out of the root', () => get('/api/../../../etc/passwd'), NO_ROUTE],
    ['the same, encoded', () => get('/api/%2e%2e/%2e%2e/etc/passwd'), NO_ROUTE],
    ['backslashes', () => get('/api\\jobs'), NO_ROUTE],
    ['two slashes', () => get('//api//jobs'), NO_ROUTE],
    [
      'PUT',
      () => send('PUT', `/api/jobs/${target.jobId}`, [target.auth, JSON_TYPE], JSON.stringify(fine)),
      NO_ROUTE,
    ],
    [
      'PATCH',
      () => send('PATCH', `/api/jobs/${target.jobId}`, [target.auth, JSON_TYPE], '{"status":"DONE"}'),
      NO_ROUTE,
    ],
    ['TRACE, which would show the headers', () => send('TRACE', '/api/jobs', [target.auth]), NO_ROUTE],
    ['DELETE of all jobs', () => send('DELETE', '/api/jobs', [target.auth]), NO_ROUTE],
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
    expect(
      (await send(method, `/api/jobs/${target.jobId}?_method=DELETE`, [target.auth, header])).status,
    ).toBe(200);
  });

  test('HEAD tells what GET would, without the body', async () => {
    const { status, headers, text } = await send('HEAD', `/api/jobs/${target.jobId}`, [target.auth]);
    expect([status, headers['etag'], text]).toEqual([200, '"0"', '']);
    expect((await send('HEAD', `/api/jobs/${target.jobId}`)).status).toBe(401);
  });

  test('OPTIONS lets no other origin in', async () => {
    const { status, headers } = await send('OPTIONS', '/api/jobs', ['Origin: https://evil.example']);
    expect(status).toBe(200);
    expect(headers['allow']).toContain('POST');
    expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
  });
});
