import { randomUUID } from 'node:crypto';
import { expect, onTestFinished, test } from 'vitest';
import { UnavailableError } from '../../src/errors.ts';
import { createStreamReader } from '../../src/infrastructure/postgres/stream-reader.ts';
import { readStreamPage } from '../../src/infrastructure/postgres/event-store-pages.ts';
import { events } from '../support/job-spec.ts';
import { createTestStore, stored } from '../support/store.ts';
import { eventually } from '../support/waiting.ts';

async function setup() {
  const opened = await createTestStore();
  onTestFinished(() => opened.drop());
  /** Streams of 0, 1, 2 … events. */
  const streams = Array.from({ length: 120 }, () => `job-${randomUUID()}`);
  await Promise.all(
    streams.map(async (stream, n) => {
      const count = n % 7;
      if (count === 0) return;
      const all = Array.from({ length: count }, () => stored(events.created({ jobId: stream.slice(4) })));
      await opened.store.append(stream, all, { expected: 'no_stream' });
    }),
  );
  return { ...opened, streams };
}

test('reads asked for at once give each what it gets alone, in few statements', async () => {
  const { database, streams } = await setup();
  let statements = 0;
  const read = createStreamReader({
    query: (sql, values) => {
      statements++;
      return database.query(sql, values);
    },
  });
  const asked = streams.flatMap((stream, n) => [
    { stream, options: { from: n % 4, limit: 1 + (n % 3) } },
    { stream, options: { direction: 'forwards' } as const },
  ]);
  const pages = await Promise.all(asked.map(({ stream, options }) => read(stream, options)));
  expect(statements).toBeLessThanOrEqual(asked.length / 10);
  for (const [i, { stream, options }] of asked.entries())
    expect(pages[i]).toEqual(await readStreamPage(database, stream, options));
  const backwards = { direction: 'backwards' } as const;
  expect(await read(streams[6]!, backwards)).toEqual(await readStreamPage(database, streams[6]!, backwards));
});

test('a statement that fails is told to all who share it, and later reads are answered', async () => {
  const { database, streams } = await setup();
  let away = true;
  const read = createStreamReader({
    query: (sql, values) =>
      away ? Promise.reject(new UnavailableError('postgres', 'away')) : database.query(sql, values),
  });
  const outcomes = await Promise.allSettled(streams.map((stream) => read(stream)));
  expect(new Set(outcomes.map(({ status }) => status))).toEqual(new Set(['rejected']));
  away = false;
  expect(await read(streams[3]!)).toHaveLength(3);
});

test('whoever has patience for a while waits no longer, whatever the reads before wait for', async () => {
  const { store, streams } = await setup();
  let asked = 0;
  const silent = {
    query: () => {
      asked++;
      return new Promise<never>(() => undefined);
    },
    transaction: () => Promise.reject(new Error('Not asked for')),
    pipeline: () => Promise.reject(new Error('Not asked for')),
  };
  const impatient = store.impatient({ database: silent, patience: 50 });
  // Enough to take up whatever is read at the same time; none of them is ever answered.
  const before = streams.map((stream) => impatient.read(stream));
  for (const each of before) each.catch(() => undefined);
  await eventually(() => asked > 0);
  await expect(impatient.read(streams[0]!)).rejects.toThrow(UnavailableError);
});
