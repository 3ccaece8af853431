import { gzipSync } from 'node:zlib';
import { rawRequest } from '../../support/raw-http.ts';
import { describeRefusals, fine, JSON_TYPE } from './hostile.ts';

const MEDIA = 'Unsupported Media Type: send JSON as application/json, in UTF-8 and not compressed';
const LARGE = 'Request body too large: at most 512 KiB';

describeRefusals('what is no JSON', (target) => {
  const { submit, payload, refused } = target;
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

describeRefusals('what cannot be read', (target) => {
  const { send, submit, refused } = target;
  refused(415, [
    ['no Content-Type', () => send('POST', '/api/jobs', [target.auth], JSON.stringify(fine)), MEDIA],
    [
      'a form',
      () =>
        send('POST', '/api/jobs', [target.auth, 'Content-Type: application/x-www-form-urlencoded'], 'type=t'),
      MEDIA,
    ],
    [
      'plain text',
      () => send('POST', '/api/jobs', [target.auth, 'Content-Type: text/plain'], JSON.stringify(fine)),
      MEDIA,
    ],
    [
      'a media type like JSON',
      () => send('POST', '/api/jobs', [target.auth, 'Content-Type: application/jsonp'], '{}'),
      MEDIA,
    ],
    [
      'a Content-Type that is none',
      () => send('POST', '/api/jobs', [target.auth, 'Content-Type: ;;;'], '{}'),
      MEDIA,
    ],
    [
      'UTF-16',
      () =>
        send(
          'POST',
          '/api/jobs',
          [target.auth, `${JSON_TYPE}; charset=utf-16le`],
          Buffer.from(JSON.stringify(fine), 'utf16le'),
        ),
      MEDIA,
    ],
    [
      'UTF-7, in which anything can hide',
      () => send('POST', '/api/jobs', [target.auth, `${JSON_TYPE}; charset=utf-7`], '+AHs-+AH0-'),
      MEDIA,
    ],
    ['Latin-1', () => send('POST', '/api/jobs', [target.auth, `${JSON_TYPE}; charset=latin1`], '{}'), MEDIA],
    [
      'a charset that does not exist',
      () => send('POST', '/api/jobs', [target.auth, `${JSON_TYPE}; charset=utf-99`], '{}'),
      MEDIA,
    ],
    ['a gzip bomb', () => submit(gzipSync(Buffer.alloc(50_000_000, ' ')), 'Content-Encoding: gzip'), MEDIA],
    ['any compression', () => submit(gzipSync('{}'), 'Content-Encoding: br'), MEDIA],
    ['two compressions', () => submit(gzipSync(gzipSync('{}')), 'Content-Encoding: gzip, gzip'), MEDIA],
  ]);
});

describeRefusals('what is too large', (target) => {
  const { send, get, submit, refused } = target;
  const chunked = (text: string): Buffer =>
    rawRequest(
      'POST',
      '/api/jobs',
      [target.auth, JSON_TYPE, 'Transfer-Encoding: chunked'],
      `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n0\r\n\r\n`,
    );
  const large = JSON.stringify({ type: 't', payload: { a: 'x'.repeat(524_288) } });
  refused(413, [
    ['a body of more than 512 KiB', () => submit(large), LARGE],
    ['the same in chunks', () => target.sendRaw(chunked(large)), LARGE],
    ['the same to log in with', () => send('POST', '/api/auth/login', [JSON_TYPE], large), LARGE],
    [
      'chunk extensions without end',
      () =>
        target.sendRaw(
          rawRequest(
            'POST',
            '/api/jobs',
            [target.auth, JSON_TYPE, 'Transfer-Encoding: chunked'],
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
