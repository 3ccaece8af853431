import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { UnavailableError } from '../../src/errors.ts';
import type { ExpectedRevision, NewEvent } from '../../src/events/event-store.ts';
import { createAppender } from '../../src/infrastructure/postgres/event-store-appender.ts';
import type { Appender } from '../../src/infrastructure/postgres/event-store-appender.ts';
import { encodeAppend } from '../../src/infrastructure/postgres/event-store-batch.ts';
import { createCuttingProxy } from '../support/cutting-proxy.ts';
import { createTestDatabase, silentLogger } from '../support/database.ts';

const newEvent = (): NewEvent => {
  const id = randomUUID();
  const actor = { kind: 'system', id: 'test' } as const;
  const occurredAt = '2026-01-01T00:00:00.000Z';
  return {
    id,
    type: 'Tested',
    data: {},
    metadata: { schemaVersion: 1, correlationId: id, causationId: id, actor, occurredAt },
  };
};
const append = (
  appender: Appender,
  stream: string,
  expected: ExpectedRevision,
  events = 1,
  patience?: number,
): Promise<{ revision: number }> =>
  appender.append(encodeAppend(stream, Array.from({ length: events }, newEvent), expected), patience);
const committed = (): void => undefined;

describe('appender', () => {
  it('writes once and answers rightly when replies are lost after the commit', async () => {
    await using test = await createTestDatabase();
    const url = new URL(test.url);
    const proxy = await createCuttingProxy({ host: url.hostname, port: Number(url.port) });
    url.port = String(proxy.port);
    const appender = createAppender({ url: url.href, logger: silentLogger, committed });
    try {
      await append(appender, 'a', 'no_stream');
      for (const [expected, revision] of [
        [0, 2],
        ['any', 4],
        [4, 6],
      ] as const) {
        const lost = proxy.loseNextReply();
        const answer = append(appender, 'a', expected, 2);
        await lost;
        await expect(answer).resolves.toEqual({ revision });
      }
      const lost = proxy.loseNextReply();
      const answers = Promise.all([append(appender, 'b', 'no_stream', 3), append(appender, 'c', 'any')]);
      await lost;
      await expect(answers).resolves.toEqual([{ revision: 2 }, { revision: 0 }]);
      const { rows } = await test.database.query(
        'SELECT stream, count(*)::int AS n FROM eventstore.events GROUP BY 1 ORDER BY 1',
      );
      expect(rows).toEqual([
        { stream: 'a', n: 7 },
        { stream: 'b', n: 3 },
        { stream: 'c', n: 1 },
      ]);
    } finally {
      await appender.close();
      await proxy.close();
    }
  });

  it('waits out a writer that holds the lock for longer than one attempt may wait', async () => {
    await using test = await createTestDatabase();
    let attempts = 0;
    const logger = pino({ level: 'warn' }, { write: () => attempts++ });
    const appender = createAppender({ url: test.url, logger, committed });
    let answer: Promise<unknown> | undefined;
    await test.database.transaction(async (tx) => {
      await tx.query('SELECT pg_advisory_xact_lock(7305228461)');
      answer = append(appender, 'a', 'no_stream');
      await expect.poll(() => attempts, { timeout: 20_000 }).toBeGreaterThan(0);
    });
    await expect(answer).resolves.toEqual({ revision: 0 });
    await appender.close();
  }, 30_000);

  it('gives up when the store stays away, and refuses more than it can hold', async () => {
    const appender = createAppender({
      url: 'postgres://nobody@127.0.0.1:1/none',
      logger: silentLogger,
      patience: 300,
      committed,
    });
    const appends = Array.from({ length: 20_001 }, () => append(appender, 'a', 'any'));
    const overload = appends.pop();
    await expect(overload).rejects.toThrow(/overloaded/);
    const outcomes = await Promise.allSettled(appends);
    for (const outcome of outcomes) {
      expect(outcome.status === 'rejected' && outcome.reason instanceof UnavailableError).toBe(true);
    }
    await appender.close();
    await expect(append(appender, 'a', 'any')).rejects.toThrow(/closed/);
  });

  it('answers those without patience while it goes on for the others, and sends nothing for them any more', async () => {
    await using test = await createTestDatabase();
    const url = new URL(test.url);
    const proxy = await createCuttingProxy({ host: url.hostname, port: Number(url.port) });
    url.port = String(proxy.port);
    const appender = createAppender({
      url: url.href,
      logger: silentLogger,
      patience: 60_000,
      committed,
    });
    await append(appender, 'before', 'no_stream');
    const restore = proxy.refuse();
    const patient = append(appender, 'patient', 'no_stream');
    const together = append(appender, 'impatient-together', 'no_stream', 1, 100);
    await expect(together).rejects.toThrow(UnavailableError);
    const behind = append(appender, 'impatient-behind', 'no_stream', 1, 100);
    await expect(behind).rejects.toThrow(UnavailableError);
    await expect(Promise.race([patient, Promise.resolve('still under way')])).resolves.toBe(
      'still under way',
    );
    restore();
    await expect(patient).resolves.toEqual({ revision: 0 });
    await append(appender, 'after', 'no_stream', 1, 60_000);
    const { rows } = await test.database.query('SELECT stream FROM eventstore.events ORDER BY position');
    expect(rows.map(({ stream }) => stream)).toEqual(['before', 'patient', 'after']);
    await appender.close();
    await proxy.close();
  });

  it('answers those without patience though their append is under way, which may then be made all the same', async () => {
    await using test = await createTestDatabase();
    const appender = createAppender({ url: test.url, logger: silentLogger, committed });
    await append(appender, 'before', 'no_stream');
    await test.database.transaction(async (tx) => {
      await tx.query('SELECT pg_advisory_xact_lock(7305228461)');
      const answer = append(appender, 'unknown', 'no_stream', 1, 2_000);
      await expect(answer).rejects.toThrow('The event store did not answer an append in time');
    });
    await append(appender, 'after', 'no_stream');
    const { rows } = await test.database.query('SELECT stream FROM eventstore.events ORDER BY position');
    expect(rows.map(({ stream }) => stream)).toEqual(['before', 'unknown', 'after']);
    await appender.close();
  });

  it('sends what waits as one batch', async () => {
    await using test = await createTestDatabase();
    let commits = 0;
    const appender = createAppender({ url: test.url, logger: silentLogger, committed: () => commits++ });
    await Promise.all(Array.from({ length: 600 }, (_, n) => append(appender, `s-${n}`, 'no_stream')));
    expect(commits).toBe(2);
    await appender.close();
  });
});
