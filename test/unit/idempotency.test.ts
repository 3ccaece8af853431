import { describe, expect, it } from 'vitest';
import { hashOfRequest, idempotencyKeyOf, jobIdOfKey } from '../../src/http/idempotency.ts';
import { newJobSchema } from '../../src/http/routes/job-schemas.ts';
import { ValidationError } from '../../src/http/validation.ts';

const USER = '0196e7d2-0000-7000-8000-0000000000b1';

/** The hash of a submission, given as the text of its body. */
const hashOf = (body: string): string => hashOfRequest(newJobSchema.parse(JSON.parse(body)));
const keyIn = (...values: string[]) =>
  idempotencyKeyOf({ headersDistinct: values.length > 0 ? { 'idempotency-key': values } : {} });

describe('a key', () => {
  it.each(['k', '"8e03978e-40d5-43dd-bc93-6894a57f9324"', '!~', 'x'.repeat(255), 'a,b'])(
    'may be %s',
    (key) => {
      expect(keyIn(key)).toBe(key);
    },
  );

  it('may be left out', () => {
    expect(keyIn()).toBeNull();
  });

  it.each(['', ' ', 'a b', 'a\tb', 'x'.repeat(256), 'é', '\u007f'])('may not be %j', (key) => {
    expect(() => keyIn(key)).toThrow(ValidationError);
  });

  it('may be given once', () => {
    expect(() => keyIn('a', 'a')).toThrow(ValidationError);
  });
});

describe('the job of a key', () => {
  it('is the same for ever: what clients hold would lead elsewhere', () => {
    expect(jobIdOfKey(USER, 'order-1')).toBe('630428da-e9ed-5e87-9661-01421d3ee2bf');
  });

  it('is another for each key and user', () => {
    const ids = ['a', 'b', 'A'].flatMap((key) =>
      [USER, USER.replace('b1', 'b2')].map((user) => jobIdOfKey(user, key)),
    );
    expect(new Set(ids).size).toBe(6);
  });
});

describe('the hash of a submission', () => {
  const plain = '{"type":"t","payload":{"a":1,"b":[{"y":null,"x":2}]}}';

  it('is the same for ever: it stands in events', () => {
    expect(hashOf(plain)).toBe('c70ea129008e6177b39540268b447e6d70a04b6d96d6de9aa60343b7ae6cb720');
  });

  it.each([
    ['white space', '{ "type" : "t",\n"payload": {"a": 1, "b": [ {"y":null,"x":2} ] } }'],
    ['the order of keys', '{"payload":{"b":[{"x":2,"y":null}],"a":1},"type":"t"}'],
    ['escapes and ways to write a number', '{"type":"\\u0074","payload":{"a":1.0e0,"b":[{"y":null,"x":2}]}}'],
    [
      'fields that are null, or left to the default',
      plain.replace('{', '{"runAt":null,"delayMs":null,"webhookEvents":["FAILED","DONE"],'),
    ],
    ['fields that nobody knows', plain.replace('{', '{"colour":"red",')],
  ])('does not depend on %s', (_, body) => {
    expect(hashOf(body)).toBe(hashOf(plain));
  });

  it('is another whenever something else is asked for', () => {
    const different = [
      '"payload":{"a":1}',
      '"payload":{"a":"1"}',
      '"payload":{"a":null}',
      '"payload":{"a":[1,2]}',
      '"payload":{"a":[2,1]}',
      '"payload":{}',
      '"payload":{},"webhookUrl":"https://example.com"',
      '"payload":{},"webhookEvents":["DONE"]',
      '"payload":{},"maxAttempts":1',
      '"payload":{},"timeoutMs":1',
      '"payload":{},"delayMs":1',
      '"payload":{},"delayMs":0',
      '"payload":{},"runAt":"2026-05-19T10:00:00Z"',
    ].flatMap((fields) => [`{"type":"t",${fields}}`, `{"type":"T",${fields}}`]);
    expect(new Set(different.map(hashOf)).size).toBe(different.length);
  });

  it('takes times as they were sent, whatever their offset and however late it is', () => {
    const at = (time: string): string => hashOf(`{"type":"t","payload":{},"runAt":"${time}"}`);
    expect(at('2026-05-19T12:00:00.000+02:00')).toBe(at('2026-05-19T10:00:00Z'));
    expect(at('2026-05-19T10:00:01Z')).not.toBe(at('2026-05-19T10:00:00Z'));
  });
});
