import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { jobStream } from '../../src/events/job.ts';
import { copyEvents } from '../../src/transfer/copy-events.ts';
import type { CopyPhase } from '../../src/transfer/copy-events.ts';
import { copiedEvent, doubleEnd, postgresEnd, writeHistory } from '../support/copying.ts';
import type { CopyEnd } from '../support/copying.ts';
import { everything } from '../support/store.ts';

const OTHER = randomUUID();
const never = new AbortController().signal;

async function withEnds<A extends CopyEnd, B extends CopyEnd>(
  [from, to]: [Promise<A>, Promise<B>],
  work: (from: A, to: B) => Promise<void>,
): Promise<void> {
  const ends = await Promise.all([from, to]);
  try {
    await work(...ends);
  } finally {
    await Promise.all(ends.map((end) => end.close()));
  }
}

/** Everything of the events but their positions. */
async function contents(end: CopyEnd): Promise<unknown[]> {
  return (await everything(end.store)).map((event) => ({ ...event, position: null }));
}

describe.each([
  {
    name: 'Postgres to EventStoreDB',
    ends: () => [postgresEnd(), doubleEnd()] as [Promise<CopyEnd>, Promise<CopyEnd>],
  },
  {
    name: 'EventStoreDB to Postgres',
    ends: () => [doubleEnd(), postgresEnd()] as [Promise<CopyEnd>, Promise<CopyEnd>],
  },
  {
    name: 'Postgres to Postgres',
    ends: () => [postgresEnd(), postgresEnd()] as [Promise<CopyEnd>, Promise<CopyEnd>],
  },
])('$name', ({ ends }) => {
  test('copies every event in order, and says so', async () => {
    await withEnds(ends(), async (from, to) => {
      const events = await writeHistory(from.store, 120);
      const phases = new Set<CopyPhase>();
      const report = await copyEvents({
        from,
        to,
        signal: never,
        onProgress: ({ phase }) => phases.add(phase),
      });
      expect(report).toMatchObject({ copied: events, events, streams: 360 });
      expect([...phases]).toEqual(['copy', 'verify']);
      expect(await contents(to)).toEqual(await contents(from));
    });
  });

  test('goes on where it was interrupted, and brings what has come since', async () => {
    await withEnds(ends(), async (from, to) => {
      const events = await writeHistory(from.store, 100);
      const interrupt = new AbortController();
      const first = copyEvents({
        from,
        to,
        signal: interrupt.signal,
        onProgress: (progress) => {
          if (progress.phase === 'copy' && progress.events > 200) interrupt.abort(new Error('interrupted'));
        },
      });
      await expect(first).rejects.toThrow('interrupted');
      const there = (await contents(to)).length;
      expect(there).toBeGreaterThan(200);
      expect(there).toBeLessThan(events);

      const more = await writeHistory(from.store, 10);
      const report = await copyEvents({ from, to, signal: never });
      expect(report).toMatchObject({ copied: events + more - there, events: events + more });
      expect(await copyEvents({ from, to, signal: never })).toEqual({ ...report, copied: 0 });
    });
  });

  test('leaves a target alone that holds other events', async () => {
    await withEnds(ends(), async (from, to) => {
      await writeHistory(from.store, 2);
      await to.store.append(jobStream(OTHER), [copiedEvent()], { expected: 'no_stream' });
      await expect(copyEvents({ from, to, signal: never })).rejects.toThrow(
        `after 0 common ones comes ${jobStream(OTHER)}@0`,
      );
      expect(await contents(to)).toHaveLength(1);
    });
  });

  test('leaves a target alone that has gone on by itself', async () => {
    await withEnds(ends(), async (from, to) => {
      const events = await writeHistory(from.store, 2);
      await copyEvents({ from, to, signal: never });
      await to.store.append(jobStream(OTHER), [copiedEvent()], { expected: 'no_stream' });
      await expect(copyEvents({ from, to, signal: never })).rejects.toMatchObject({
        code: 'TARGET_DIFFERS',
        data: { common: events, stream: jobStream(OTHER) },
      });
    });
  });
});

test('carries a large event, and an empty store', async () => {
  await withEnds([postgresEnd(), doubleEnd()], async (from, to) => {
    expect(await copyEvents({ from, to, signal: never })).toMatchObject({ copied: 0, events: 0, streams: 0 });
    const large = copiedEvent({ text: 'x'.repeat(990_000) });
    await from.store.append(jobStream(OTHER), [large, copiedEvent()], { expected: 'no_stream' });
    expect(await copyEvents({ from, to, signal: never })).toMatchObject({ copied: 2, events: 2 });
  });
});

test('what becomes of single appends is not known, and none is lost or doubled', async () => {
  await withEnds([postgresEnd(), doubleEnd()], async (from, to) => {
    await writeHistory(from.store, 20);
    to.double.faults.appends.push('cut-after-commit', 'cut-before-commit', 'busy', 'cut-after-commit');
    await copyEvents({ from, to, signal: never });
    expect(await contents(to)).toEqual(await contents(from));
  });
});

test('streams of others in a shared store are neither copied nor in the way', async () => {
  await withEnds([doubleEnd(), doubleEnd()], async (from, to) => {
    await from.store.append('theirs-1', [copiedEvent()], { expected: 'no_stream' });
    await from.store.append('job-theirs', [copiedEvent()], { expected: 'no_stream' });
    await to.store.append('theirs-2', [copiedEvent()], { expected: 'no_stream' });
    await to.store.append(`webhook-${OTHER}`, [copiedEvent()], { expected: 'no_stream' });
    const events = await writeHistory(from.store, 2);
    await from.store.append('theirs-1', [copiedEvent()], { expected: 'any' });
    await from.store.append('job-theirs', [copiedEvent()], { expected: 'any' });
    expect(await copyEvents({ from, to, signal: never })).toMatchObject({ copied: events, events });
  });
});

test.each(['invoice-1', 'job-1'])(
  'a stream of a form that this build does not know is not left behind in silence: %s',
  async (stream) => {
    await withEnds([postgresEnd(), doubleEnd()], async (from, to) => {
      await from.store.append(stream, [copiedEvent()], { expected: 'no_stream' });
      await expect(copyEvents({ from, to, signal: never })).rejects.toThrow(`stream ${stream}, `);
    });
  },
);

test('a copy that differs from its source is found out', async () => {
  await withEnds([postgresEnd(), doubleEnd()], async (from, to) => {
    await writeHistory(from.store, 5);
    const onProgress = ({ phase }: { phase: CopyPhase }): void => {
      const [victim] = to.double.log.all.filter(({ stream }) => stream.startsWith('job-'));
      if (phase === 'copy' && victim) Object.assign(victim, { data: Buffer.from('{"n":99}') });
    };
    await expect(copyEvents({ from, to, signal: never, onProgress })).rejects.toMatchObject({
      code: 'COPY_NOT_VERIFIED',
      data: { common: 0 },
    });
  });
});
