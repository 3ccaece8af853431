import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { MAX_RESULT_BYTES } from '../../src/commands/job-decider.ts';
import type { HandlerRegistry } from '../../src/workers/handler.ts';
import type { HandlerRegistryOptions } from '../../src/workers/load-handlers.ts';
import { handlersFolder, testContext, testRegistry } from '../support/handlers.ts';

/** A registry with one handler `t` whose `run(payload, ctx)` has this body. */
async function withHandler(
  body: string,
  options: Partial<HandlerRegistryOptions> = {},
): Promise<HandlerRegistry> {
  const source = `export default { type: 't', async run(payload, ctx) { ${body} } };`;
  return testRegistry({ handlersDir: await handlersFolder({ 't.mjs': source }), ...options });
}

describe('a handler in a thread', () => {
  test('gets payload and context, and gives its result', async () => {
    const registry = await withHandler(
      'return { payload, jobId: ctx.jobId, attempt: ctx.attempt, not: undefined };',
    );
    const { jobId } = testContext();
    expect(await registry.run('t', { a: [1, { b: null }] }, testContext())).toEqual({
      payload: { a: [1, { b: null }] },
      jobId,
      attempt: 1,
    });
  });

  test('runs with what its schema made of the payload, and not at all when it does not fit', async () => {
    const source = `
      const safeParse = (p) => typeof p.n === 'number' ? { success: true, data: { n: p.n, by: 'default' } }
        : { success: false, error: { issues: [{ path: ['n'], message: 'must be a number' }] } };
      export default { type: 't', payload: { safeParse }, run: async (payload) => payload };`;
    const registry = await testRegistry({ handlersDir: await handlersFolder({ 't.mjs': source }) });
    expect(registry.find('t')?.checkPayload({ n: 'x' })).toEqual({ n: ['must be a number'] });
    expect(registry.find('t')?.checkPayload({ n: 1 })).toBeNull();
    expect(await registry.run('t', { n: 1 }, testContext())).toEqual({ n: 1, by: 'default' });
    await expect(registry.run('t', { n: 'x' }, testContext())).rejects.toMatchObject({
      message: 'The payload does not fit t: n: must be a number',
      retryable: false,
    });
  });

  test('has reported everything, in order, when its run settles, however much it was', async () => {
    const registry = await withHandler(
      'for (let i = 0; i < 3000; i++) ctx.log(`line ${i}`); ctx.progress(50, "half"); ctx.progress(100);',
    );
    const ctx = testContext();
    expect(await registry.run('t', {}, ctx)).toBeNull();
    const lines = Array.from({ length: 3000 }, (_, i) => `line ${i}`);
    expect(ctx.reports).toEqual([...lines, { percent: 50, note: 'half' }, { percent: 100, note: undefined }]);
  });

  test('learns at once when it reports what is not allowed', async () => {
    const registry = await withHandler(`
      const thrown = [];
      for (const report of [() => ctx.log('x'.repeat(9000)), () => ctx.progress(101), () => ctx.log('fine')]) {
        try { report(); } catch (error) { thrown.push(error.message); }
      }
      return thrown;`);
    expect(await registry.run('t', {}, testContext())).toEqual([
      'A log line of 9000 bytes exceeds the limit of 8192',
      'Progress must be a number from 0 to 100, not 101',
    ]);
  });

  test('sees the environment it is given and no other', async () => {
    const registry = await withHandler('return process.env;', { env: { GREETING: 'hello' } });
    expect(await registry.run('t', {}, testContext())).toEqual({ GREETING: 'hello' });
  });

  test('fails as its error says', async () => {
    const cases: [body: string, error: object][] = [
      [`throw new TypeError('bad mood');`, { name: 'TypeError', message: 'bad mood', retryable: true }],
      [
        `throw Object.assign(new Error('no use'), { retryable: false });`,
        { message: 'no use', retryable: false },
      ],
      [`throw 'just a text';`, { message: 'just a text', retryable: true }],
      [`throw undefined;`, { message: 'undefined', retryable: true }],
      [`throw { message: 'odd', retryable: false };`, { message: 'odd', retryable: false }],
      [`throw new Proxy({}, { get() { throw new Error('hands off'); } });`, { retryable: true }],
      [`const a = {}; a.a = a; return a;`, { retryable: false }],
      [`return 1n;`, { retryable: false }],
      [`return 'x'.repeat(${MAX_RESULT_BYTES});`, { retryable: false }],
    ];
    const registry = await withHandler(
      cases.map(([body], index) => `if (payload.case === ${index}) { ${body} }`).join('\n'),
    );
    for (const [index, [, error]] of cases.entries()) {
      const failure: unknown = await registry
        .run('t', { case: index }, testContext())
        .catch((thrown: unknown) => thrown);
      expect(failure).toBeInstanceOf(Error);
      expect(failure).toMatchObject(error);
    }
  });
});

describe('an abort', () => {
  test('reaches the handler’s signal with its reason', async () => {
    const registry = await withHandler(`
      ctx.log('waiting');
      await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));
      ctx.log('tidied up');
      return ctx.signal.reason.name + ': ' + ctx.signal.reason.message;`);
    const ctx = testContext();
    const running = registry.run('t', {}, ctx);
    await ctx.logged('waiting');
    ctx.abort(Object.assign(new Error('took too long'), { name: 'TimeoutError' }));
    expect(await running).toBe('TimeoutError: took too long');
    expect(ctx.reports).toEqual(['waiting', 'tidied up']);
  });

  test.each([
    ['loops', `ctx.log('at it'); for (;;) ;`],
    ['waits for ever', `ctx.log('at it'); await new Promise(() => {});`],
    ['logs without end', `ctx.log('at it'); for (;;) ctx.log('more');`],
  ])('ends a thread that %s, with the signal’s reason; what waited for it runs', async (_what, loop) => {
    const registry = await withHandler(`if (payload.loop) { ${loop} } return 'fine';`, { concurrency: 1 });
    const ctx = testContext();
    const looping = registry.run('t', { loop: true }, ctx);
    await ctx.logged('at it');
    const next = registry.run('t', {}, testContext());
    const reason = new Error('cancelled');
    ctx.abort(reason);
    await expect(looping).rejects.toBe(reason);
    expect(await next).toBe('fine');
  });

  test('before the start keeps the handler from running', async () => {
    const registry = await withHandler(`ctx.log('ran');`);
    const ctx = testContext();
    const reason = new Error('too late');
    ctx.abort(reason);
    await expect(registry.run('t', {}, ctx)).rejects.toBe(reason);
    expect(ctx.reports).toEqual([]);
  });
});

describe('a thread that dies', () => {
  test.each([
    ['exits', `process.exit(3);`, /The handler's thread died: it exited with code 3/],
    [
      'has an uncaught error',
      `setTimeout(() => { throw new Error('out of the blue'); }); await new Promise(() => {});`,
      /The handler's thread died: out of the blue/,
    ],
    [
      'runs out of memory',
      `const all = []; for (;;) all.push(new Array(10_000).fill(all.length));`,
      /The handler's thread died: .*memory/,
    ],
  ])(
    'because it %s is a failed attempt that may be retried, and the pool goes on',
    async (_what, death, message) => {
      const registry = await withHandler(`ctx.log('alive'); if (payload.die) { ${death} } return 'fine';`, {
        concurrency: 1,
        threadHeapMb: 32,
      });
      const ctx = testContext();
      const dying = registry.run('t', { die: true }, ctx);
      const next = registry.run('t', {}, testContext());
      await expect(dying).rejects.toThrow(message);
      await expect(dying).rejects.not.toMatchObject({ retryable: false });
      expect(ctx.reports).toEqual(['alive']);
      expect(await next).toBe('fine');
    },
  );

  test('with the pool closed fails what runs', async () => {
    const registry = await withHandler(`ctx.log('waiting'); await new Promise(() => {});`);
    const ctx = testContext();
    const running = registry.run('t', {}, ctx);
    const failed = expect(running).rejects.toThrow(/The handler's thread died/);
    await ctx.logged('waiting');
    await registry.close();
    await failed;
    await registry.close();
    await expect(registry.run('t', {}, testContext())).rejects.toThrow('closed');
  });
});

test('as many handlers run at once as there are threads', async () => {
  const registry = await withHandler(
    `ctx.log('here'); await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve)); return 'met';`,
    { concurrency: 4 },
  );
  const contexts = Array.from({ length: 4 }, testContext);
  const running = contexts.map((ctx) => registry.run('t', {}, ctx));
  await Promise.all(contexts.map((ctx) => ctx.logged('here')));
  for (const ctx of contexts) ctx.abort(new Error('go'));
  expect(await Promise.all(running)).toEqual(['met', 'met', 'met', 'met']);
});

test('the examples in the repository load and run', async () => {
  const handlersDir = fileURLToPath(new URL('../../examples/handlers', import.meta.url));
  const registry = await testRegistry({ handlersDir });
  expect(registry.find('word-count')?.checkPayload({ text: '', top: 0 })).toEqual({
    text: ['text must not be empty'],
    top: [expect.any(String)],
  });
  const ctx = testContext();
  expect(await registry.run('word-count', { text: 'To be, or not to be', top: 2 }, ctx)).toEqual({
    words: 6,
    different: 4,
    mostUsed: [
      { word: 'to', count: 2 },
      { word: 'be', count: 2 },
    ],
  });
  expect(ctx.reports).toContain('Counting 6 words');
  expect(registry.find('check-site')?.checkPayload({ url: 'file:///etc/hosts' })).toHaveProperty('url');
  await expect(registry.run('check-site', { url: 'http://127.0.0.1/' }, testContext())).rejects.toMatchObject(
    {
      message: '127.0.0.1 is not one of CHECK_SITE_HOSTS',
      retryable: false,
    },
  );
});
