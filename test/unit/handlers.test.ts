import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { MAX_RESULT_BYTES } from '../../src/commands/job-decider.ts';
import { resultJson } from '../../src/workers/handler-result.ts';
import {
  checkedLogLine,
  checkedProgress,
  isRetryable,
  LogLineTooLongError,
  MAX_LOG_BYTES,
} from '../../src/workers/handler.ts';
import { BrokenPayloadSchemaError, parsePayload } from '../../src/workers/payload-schema.ts';
import { handlersFolder, testContext, testRegistry } from '../support/handlers.ts';

describe('built-in handlers', () => {
  test.each([
    ['send-email', {}, { sent: true, timestamp: expect.stringMatching(/^\d{4}-.*Z$/) as unknown }],
    [
      'generate-report',
      {},
      { reportUrl: expect.stringMatching(/^https:\/\/example\.com\/reports\/\d+\.pdf$/) as unknown },
    ],
    [
      'resize-image',
      { width: 320, height: 200 },
      { imageUrl: expect.stringMatching(/-320x200\.jpg$/) as unknown, width: 320, height: 200 },
    ],
    ['anything-else', {}, { processed: true, timestamp: expect.any(String) as unknown }],
  ])('%s has a sensible result and logs nothing', async (type, payload, result) => {
    const registry = await testRegistry();
    const ctx = testContext();
    expect(await registry.run(type, payload, ctx)).toEqual(result);
    expect(ctx.reports).toEqual([]);
  });

  test.each(['send-email', 'generate-report', 'resize-image', 'anything-else'])(
    '%s stops when asked to',
    async (type) => {
      const registry = await testRegistry({ timeScale: 1_000_000_000 });
      const ctx = testContext();
      const running = registry.run(type, {}, ctx);
      const reason = new Error('cancelled');
      ctx.abort(reason);
      await expect(running).rejects.toBe(reason);
      await expect(registry.run(type, {}, ctx)).rejects.toBe(reason);
    },
  );

  test('are announced, the default one is not', async () => {
    const registry = await testRegistry();
    expect(registry.types).toEqual(['send-email', 'generate-report', 'resize-image']);
    expect(registry.find('send-email')).toMatchObject({
      type: 'send-email',
      timeoutMs: null,
      maxAttempts: null,
    });
    expect(registry.find('send-email')?.checkPayload({ any: 'thing' })).toBeNull();
    expect(registry.find('anything-else')).toBeNull();
  });
});

describe('HANDLERS_DIR', () => {
  const fine = (type: string) => `export default { type: '${type}', run: async () => 1 };`;

  test('takes .js and .mjs, leaves out the rest, and reads what a module says of itself', async () => {
    const handlersDir = await handlersFolder({
      'a.mjs': `export default { type: 'a', timeoutMs: 500, maxAttempts: 7, async run() {} };`,
      'b.js': fine('b'),
      'commonjs.js': `module.exports = { type: 'c', run: async () => 1 };`,
      'compiled.js': `Object.defineProperty(exports, '__esModule', { value: true }); exports.default = { type: 'd', run() {} };`,
      '.hidden.mjs': 'throw new Error("must not be loaded")',
      'a.test.mjs': 'throw new Error("must not be loaded")',
      'readme.md': '# no code',
    });
    const registry = await testRegistry({ handlersDir });
    expect(registry.types.slice(3)).toEqual(['a', 'b', 'c', 'd']);
    expect(registry.find('a')).toMatchObject({ timeoutMs: 500, maxAttempts: 7 });
  });

  test('may replace a built-in handler, and says so', async () => {
    const handlersDir = await handlersFolder({ 'mail.mjs': fine('send-email') });
    const lines: unknown[] = [];
    const logger = pino(
      {},
      { write: (line: string) => lines.push((JSON.parse(line) as { msg: string }).msg) },
    );
    const registry = await testRegistry({ handlersDir, logger });
    expect(registry.types).toHaveLength(3);
    expect(lines).toEqual(['Handler loaded, in place of the built-in handler']);
    expect(await registry.run('send-email', {}, testContext())).toBe(1);
  });

  test.each([
    ['nothing exported', 'export const x = 1;', /bad\.mjs: it has no default export/],
    ['a type that is no text', 'export default { type: 5, run() {} };', /bad\.mjs: type must be/],
    ['an empty type', `export default { type: '', run() {} };`, /bad\.mjs: type must be/],
    ['no run', `export default { type: 'x' };`, /bad\.mjs: run must be a function/],
    [
      'a payload that is no schema',
      `export default { type: 'x', payload: {}, run() {} };`,
      /bad\.mjs: payload must be/,
    ],
    ['a bad timeout', `export default { type: 'x', timeoutMs: 0, run() {} };`, /bad\.mjs: timeoutMs must be/],
    [
      'a bad count',
      `export default { type: 'x', maxAttempts: 1.5, run() {} };`,
      /bad\.mjs: maxAttempts must be/,
    ],
    ['an error on import', `throw new Error('no such key');`, /bad\.mjs cannot be loaded: no such key/],
    ['a syntax error', `export default {`, /bad\.mjs cannot be loaded: /],
    ['a type that is there already', fine('good'), /bad\.mjs and good\.mjs both have the type good/],
  ])('refuses %s', async (_what, source, message) => {
    const handlersDir = await handlersFolder({ 'bad.mjs': source, 'good.mjs': fine('good') });
    await expect(testRegistry({ handlersDir })).rejects.toThrow(message);
    await expect(testRegistry({ handlersDir })).rejects.toMatchObject({ code: 'STARTUP' });
  });

  test('must be a folder that exists', async () => {
    const folder = await handlersFolder({ 'file.mjs': fine('x') });
    await expect(testRegistry({ handlersDir: `${folder}/none` })).rejects.toThrow(
      /HANDLERS_DIR: .* does not exist/,
    );
    await expect(testRegistry({ handlersDir: `${folder}/file.mjs` })).rejects.toThrow(
      /HANDLERS_DIR: .* is not a folder/,
    );
  });
});

describe('payload schemas', () => {
  const schema = z.object({ to: z.email('Invalid email'), items: z.array(z.object({ price: z.number() })) });

  test('name each field that is wrong', () => {
    expect(parsePayload('t', schema, { to: 'me', items: [{ price: 1 }, { price: 'x' }] })).toEqual({
      ok: false,
      errors: { to: ['Invalid email'], 'items.1.price': [expect.stringContaining('expected number')] },
    });
    expect(parsePayload('t', schema, [])).toMatchObject({ errors: { '': [expect.any(String)] } });
    expect(parsePayload('t', schema, { to: 'a@example.com', items: [] })).toMatchObject({ ok: true });
  });

  test('list a bounded number of mistakes', () => {
    const parsed = parsePayload(
      't',
      z.array(z.string()),
      Array.from({ length: 10_000 }, () => 1),
    );
    expect(parsed.ok ? [] : Object.keys(parsed.errors)).toHaveLength(100);
  });

  test('that fail are the handler’s fault, not the payload’s', () => {
    const asynchronous = z.string().refine(() => Promise.resolve(true));
    expect(() => parsePayload('t', asynchronous, 'x')).toThrow(BrokenPayloadSchemaError);
    const throwing = {
      safeParse(): never {
        throw new Error('out of order');
      },
    };
    expect(() => parsePayload('t', throwing, 'x')).toThrow(
      'The payload schema of t cannot be used: out of order',
    );
    const promising = { safeParse: () => Promise.resolve({ success: true }) as never };
    expect(() => parsePayload('t', promising, 'x')).toThrow('asynchronous');
  });
});

describe('results', () => {
  test.each([
    [undefined, 'null'],
    [null, 'null'],
    [{ n: NaN, i: Infinity, u: undefined }, '{"n":null,"i":null}'],
    [new Date(0), '"1970-01-01T00:00:00.000Z"'],
  ])('%o is kept as %s', (result, json) => {
    expect(resultJson(result)).toBe(json);
  });

  const circular: Record<string, unknown> = {};
  circular.self = circular;
  let deep: unknown = 1;
  for (let level = 0; level < 300; level++) deep = [deep];
  test.each([
    ['circular', circular, /not JSON: .*circular/],
    ['a BigInt', { n: 1n }, /not JSON: .*BigInt/],
    ['a function', () => 1, /not JSON: it is a function/],
    ['too large', 'é'.repeat(MAX_RESULT_BYTES / 2), /of 262146 bytes exceeds/],
    ['too deep', deep, /more than 200 levels/],
  ])('one that is %s is a failure that is not retried', (_what, result, message) => {
    expect(() => resultJson(result)).toThrow(message);
    expect(() => resultJson(result)).toThrow(expect.objectContaining({ retryable: false }));
  });
});

describe('what handlers report', () => {
  test('lines are limited in bytes', () => {
    expect(checkedLogLine('é'.repeat(MAX_LOG_BYTES / 2))).toHaveLength(MAX_LOG_BYTES / 2);
    expect(() => checkedLogLine(`${'é'.repeat(MAX_LOG_BYTES / 2)}!`)).toThrow(
      /8193 bytes exceeds the limit of 8192/,
    );
    expect(checkedLogLine({ a: 1 })).toBe('{ a: 1 }');
  });

  test('progress is a percentage', () => {
    expect(checkedProgress(100)).toEqual({ percent: 100, note: null });
    for (const wrong of [-1, 100.1, NaN, '50', undefined])
      expect(() => checkedProgress(wrong)).toThrow(RangeError);
    expect(() => checkedProgress(1, 'x'.repeat(MAX_LOG_BYTES + 1))).toThrow(LogLineTooLongError);
  });

  test('an error is retryable unless it says otherwise', () => {
    expect(isRetryable(new Error('x'))).toBe(true);
    expect(isRetryable('x')).toBe(true);
    expect(isRetryable(Object.assign(new Error('x'), { retryable: false }))).toBe(false);
  });
});
