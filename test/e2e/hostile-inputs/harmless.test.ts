import { expect, test } from 'vitest';
import type { RawAnswer } from '../../support/raw-http.ts';
import { eventually } from '../../support/waiting.ts';
import { describeHostile, fine, longEmail, nested } from './hostile.ts';

describeHostile('what looks hostile and is not', (target) => {
  const { send, get, submit, submitJob, payload, authenticate } = target;
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
      () => submitJob({ ...fine, id: target.jobId, userId: 'x', status: 'DONE', result: 1 }),
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
          [target.auth, 'CONTENT-TYPE: Application/JSON; Charset="UTF-8"'],
          JSON.stringify(fine),
        ),
      fine,
    ],
  ];
  test.each(accepted)('%s', async (_, request, data) => {
    const { status, text } = await request();
    expect([status, text]).toEqual([201, text]);
    const submitted = JSON.parse(text) as { data: { id: string; payload: unknown } };
    expect(submitted).toMatchObject({ success: true, data });
    expect({}).not.toHaveProperty('admin');

    // It runs like any other, and the list, which is read from other places than the job by its id, has it as it was sent.
    const { id, payload: sent } = submitted.data;
    await eventually(async () => {
      const { data: listed } = JSON.parse((await get('/api/jobs?status=DONE&limit=100')).text) as {
        data: { id: string; payload: unknown }[];
      };
      const found = listed.find((job) => job.id === id);
      expect(found).toBeDefined();
      expect(found?.payload).toEqual(sent);
      return true;
    });
    const read = JSON.parse((await get(`/api/jobs/${id}`)).text) as { data: object };
    expect(read.data).toMatchObject({ status: 'DONE', payload: sent });
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
    expect((await get(`http://evil.example/api/jobs/${target.jobId}`)).status).toBe(200);
  });
});
