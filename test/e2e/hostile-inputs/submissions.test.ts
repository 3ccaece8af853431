import { describeRefusals, fine, nested } from './hostile.ts';

describeRefusals('payloads that would not come back as they were sent', (target) => {
  const { submitJob, payload, refused } = target;
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

describeRefusals('fields of a submission', (target) => {
  const { submit, submitJob, refused } = target;
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
