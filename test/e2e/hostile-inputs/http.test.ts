import { connect } from 'node:net';
import { expect, test } from 'vitest';
import { rawRequest } from '../../support/raw-http.ts';
import { describeRefusals, fine, JSON_TYPE } from './hostile.ts';

describeRefusals('what is hardly HTTP', (target) => {
  const { submit, refused } = target;
  const raw = (text: string | Buffer) => () => target.sendRaw(text);
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
    const { status } = await target.sendRaw('CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n');
    expect(status).toBe(0);
  });

  test('a body that breaks off is not taken for a whole one', async () => {
    const bytes = rawRequest(
      'POST',
      '/api/jobs',
      [target.auth, JSON_TYPE, 'Content-Length: 1000'],
      JSON.stringify(fine),
    );
    const { hostname, port } = new URL(target.base);
    const socket = connect(Number(port), hostname);
    await new Promise<void>((resolve) => socket.write(bytes, () => resolve()));
    socket.destroy();
  });
});

function rawRequestText(headers: string[], body: string): Buffer {
  return rawRequest('POST', '/api/auth/login', headers, body);
}
