import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { payloadSchema } from '../../src/http/json-payload.ts';

const problems = (text: string): { path: string; message: string }[] =>
  (payloadSchema.safeParse(JSON.parse(text)).error?.issues ?? []).map(({ path, message }) => ({
    path: path.join('.'),
    message,
  }));

const nested = (levels: number): string => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;

describe('a payload', () => {
  it.each(['[]', '"text"', '1', 'null', 'true'])('is not %s', (text) => {
    expect(problems(text)).toEqual([{ path: '', message: 'Payload must be an object' }]);
  });

  it('has at most 32 levels', () => {
    expect(problems(nested(32))).toEqual([]);
    expect(problems(nested(33))).toEqual([
      { path: '', message: 'Payload must not be nested deeper than 32 levels' },
    ]);
    expect(problems(`{"a":${'['.repeat(4_000)}${']'.repeat(4_000)}}`)).toHaveLength(1);
  });

  it.each([
    ['{"a":["b\\u0000"]}', 'a.0', /NUL/],
    ['{"a":"\\ud800"}', 'a', /surrogates/],
    ['{"a":{"\\udc00x":1}}', 'a', /Keys/],
    ['{"\\u0000":1}', '', /Keys/],
    ['{"a":1e400}', 'a', /out of range/],
    ['{"a":[0,-1e999]}', 'a.1', /out of range/],
    ['{"a":12345678901234567890}', 'a', /too large to be exact/],
    ['{"a":-9007199254740993}', 'a', /too large to be exact/],
    ['{"__proto__":{"admin":true}}', '', /__proto__/],
    ['{"a":[{"__proto__":1}]}', 'a.0', /__proto__/],
  ])('that would come back changed is refused: %s', (text, path, message) => {
    expect(problems(text)).toEqual([{ path, message: expect.stringMatching(message) as string }]);
  });

  it.each(['{}', '{"a":9007199254740991}', '{"a":1e300}', '{"a":"😀"}', '{"constructor":{"prototype":1}}'])(
    'may be %s',
    (text) => {
      expect(problems(text)).toEqual([]);
    },
  );

  it('that is let through is what was sent', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 5 })), (value) => {
        const sent: unknown = JSON.parse(JSON.stringify(value));
        const parsed = payloadSchema.safeParse(sent);
        if (parsed.success) expect(parsed.data).toEqual(sent);
        expect(Object.getPrototypeOf({})).not.toHaveProperty('admin');
      }),
    );
  });
});
