import { z } from 'zod';

/**
 * Counts the words of a text: a job type with everything a handler can have.
 * @type {import('../../src/workers/handler.ts').Handler}
 */
export default {
  type: 'word-count',
  // A submission that does not fit is answered 400 with these messages; `run` gets the payload with its defaults.
  payload: z.object({
    text: z.string().min(1, 'text must not be empty'),
    top: z.int().min(1).max(100).default(3),
  }),
  timeoutMs: 30_000,
  maxAttempts: 2,

  async run({ text, top }, ctx) {
    const words = text.toLowerCase().match(/[\p{L}\p{N}'’]+/gu) ?? [];
    ctx.log(`Counting ${words.length} words`);
    const counts = new Map();
    for (const [index, word] of words.entries()) {
      counts.set(word, (counts.get(word) ?? 0) + 1);
      if (index % 10_000 === 0) ctx.progress(Math.floor((100 * index) / words.length));
    }
    ctx.progress(100);
    const mostUsed = [...counts].sort(([, a], [, b]) => b - a).slice(0, top);
    return {
      words: words.length,
      different: counts.size,
      mostUsed: mostUsed.map(([word, count]) => ({ word, count })),
    };
  },
};
