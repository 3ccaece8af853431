import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EventStore, RecordedEvent } from '../../src/events/event-store.ts';
import { jobLogStream, jobStream } from '../../src/events/job.ts';
import { webhookId, webhookStream } from '../../src/events/webhook.ts';
import { createJobHistory } from '../../src/queries/job-history.ts';
import { readTrail, TRAIL_START, wholeTrail } from '../../src/queries/job-trail.ts';
import type { TrailPlace } from '../../src/queries/job-trail.ts';
import { openStore, STORE_KINDS } from '../support/both-stores.ts';
import { createTestDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { uuid } from '../support/histories.ts';
import { expectedTrail } from '../support/job-oracle.ts';
import { events, execution, JOB_ID, USER } from '../support/job-spec.ts';
import { recordHistories, streamsOf } from '../support/recorded-histories.ts';
import type { RecordedJob } from '../support/recorded-histories.ts';
import { stored } from '../support/store.ts';

const nameOf = ({ stream, revision }: RecordedEvent): string => `${stream}@${revision}`;
const namesOf = (list: readonly RecordedEvent[]): string[] => list.map(nameOf);

async function collect(trail: AsyncIterable<RecordedEvent>): Promise<RecordedEvent[]> {
  const all: RecordedEvent[] = [];
  for await (const event of trail) all.push(event);
  return all;
}

/** Every page until there are no more. */
async function pages(store: EventStore, id: string, limit: number): Promise<RecordedEvent[][]> {
  const all: RecordedEvent[][] = [];
  let from = TRAIL_START;
  for (let more = true; more;) {
    const page = await readTrail(store, id, { from, limit });
    all.push([...page.events]);
    ({ next: from, more } = page);
  }
  return all;
}

const logged = (n: number, message: string, attempt = 1, jobId = JOB_ID) =>
  ({ type: 'JobLogged', data: { jobId, round: 1, attempt, executionId: execution(n), message } }) as const;
const at = (second: number): string => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString();

/** Clocks of the processes that write the kinds of streams, ahead or behind by so many milliseconds. */
const SKEWS: readonly Readonly<Record<string, number>>[] = [
  {},
  { jobLog: -60_000 },
  { webhook: -600_000, jobLog: -300_000 },
  { job: -60_000, webhook: 1_000 },
];
const kindOf = ({ stream }: RecordedEvent): string => stream.slice(0, stream.indexOf('-'));

describe.each(STORE_KINDS)('the trail of a job on %s', (kind) => {
  let testDatabase: TestDatabase;
  let store: EventStore;
  const jobs: RecordedJob[] = [];
  beforeAll(async () => {
    testDatabase = await createTestDatabase();
    store = await openStore(kind, testDatabase);
    for (const [n, skew] of SKEWS.entries()) {
      // A coarse clock makes ties, one for each kind of stream.
      const grain = n % 2 === 0 ? 1 : 5_000;
      const clock = (time: number, event: RecordedEvent): number =>
        time - (time % grain) + (skew[kindOf(event)] ?? 0);
      jobs.push(...(await recordHistories(store, { jobs: 40, seed: n + 1, clock })));
    }
  });
  afterAll(async () => {
    await store.close();
    await testDatabase.drop();
  });

  test('is complete and in the promised order, whatever the clocks say', async () => {
    const kinds = new Set<string>();
    for (const { id, events } of jobs) {
      const trail = await collect(wholeTrail(store, id));
      expect(namesOf(trail)).toEqual(namesOf(expectedTrail(events)));
      expect(trail).toEqual(expectedTrail(events));
      for (const event of events) kinds.add(event.type);
    }
    // The histories go everywhere, or the test would say little.
    expect(kinds.size).toBe(14);
  });

  test('runs forward in time where the clocks agree', async () => {
    for (const { id } of jobs.slice(0, 40)) {
      const times = (await collect(wholeTrail(store, id))).map(({ metadata }) => metadata.occurredAt);
      expect(times).toEqual([...times].sort());
    }
  });

  test('is the same in pages of any size', async () => {
    for (const { id, events } of jobs.filter((_, n) => n % 4 === 0)) {
      const whole = namesOf(expectedTrail(events));
      for (const limit of [1, 2, 3, 7]) {
        const parts = await pages(store, id, limit);
        expect(parts.flatMap(namesOf)).toEqual(whole);
        expect(parts.slice(0, -1).every((part) => part.length === limit)).toBe(true);
      }
    }
  });

  test('goes on from its end with what has come since, once', async () => {
    const id = uuid(9, 1);
    const stream = jobStream(id);
    const created = stored(events.created({ jobId: id }), at(1));
    const started = stored(events.started(1), at(2));
    await store.append(stream, [created], { expected: 'no_stream' });
    const first = await readTrail(store, id, { from: TRAIL_START, limit: 10 });
    expect(first).toMatchObject({ more: false, next: { job: 1, log: 0, webhooks: [] } });
    expect(await readTrail(store, id, { from: first.next, limit: 10 })).toEqual({ ...first, events: [] });
    await store.append(stream, [started], { expected: 0 });
    const second = await readTrail(store, id, { from: first.next, limit: 10 });
    expect(namesOf(second.events)).toEqual([`${stream}@1`]);
  });

  test('shows a redelivery long after newer rounds, and what is late by its clock', async () => {
    const id = uuid(9, 2);
    const [one, two] = [1, 2].map((round) => webhookStream(webhookId(id, round))) as [string, string];
    const told = {
      jobId: id,
      url: 'https://example.com/',
      body: '{}',
      statusCode: 200,
      success: true,
      error: null,
    };
    const attempted = (round: number, attempt: number, second: number) =>
      stored(
        { type: 'WebhookAttempted', data: { ...told, round, attempt, nextAttemptAt: null } },
        at(second),
      );
    const life = [
      stored(events.created({ jobId: id }), at(1)),
      stored(events.cancelled({ webhook: true }), at(2)),
      stored(events.retried(2), at(4)),
      stored(events.cancelled({ round: 2, webhook: true }), at(5)),
    ];
    await store.append(jobStream(id), life, { expected: 'no_stream' });
    await store.append(one, [attempted(1, 1, 3)], { expected: 'no_stream' });
    await store.append(two, [attempted(2, 1, 6)], { expected: 'no_stream' });
    const first = await readTrail(store, id, { from: TRAIL_START, limit: 10 });
    const [job, ...names] = [jobStream(id), one, two];
    expect(namesOf(first.events)).toEqual([
      `${job}@0`,
      `${job}@1`,
      `${names[0]}@0`,
      `${job}@2`,
      `${job}@3`,
      `${names[1]}@0`,
    ]);
    const again = { type: 'WebhookRedeliveryRequested', data: { jobId: id, round: 1, attempt: 2 } } as const;
    // By the clock of its writer it belongs between events that have been read already.
    await store.append(one, [stored(again, at(4)), attempted(1, 2, 7)], { expected: 0 });
    const second = await readTrail(store, id, { from: first.next, limit: 10 });
    expect(namesOf(second.events)).toEqual([`${one}@1`, `${one}@2`]);
    expect(namesOf(await collect(wholeTrail(store, id)))).toEqual([
      `${job}@0`,
      `${job}@1`,
      `${one}@0`,
      `${job}@2`,
      `${one}@1`,
      `${job}@3`,
      `${two}@0`,
      `${one}@2`,
    ]);
  });

  test('holds back no report whose execution has no start', async () => {
    const id = uuid(9, 3);
    await store.append(
      jobStream(id),
      [stored(events.created({ jobId: id }), at(1)), stored(events.started(1), at(2))],
      {
        expected: 'no_stream',
      },
    );
    await store.append(jobLogStream(id), [stored(logged(7, 'lost', 1, id), at(0))], { expected: 'any' });
    expect(namesOf(await collect(wholeTrail(store, id)))).toEqual([
      `${jobStream(id)}@0`,
      `${jobLogStream(id)}@0`,
      `${jobStream(id)}@1`,
    ]);
  });

  test('lists an event of a type that this build does not know', async () => {
    const id = uuid(9, 4);
    const created = stored(events.created({ jobId: id }), at(1));
    const beamed = { ...stored(events.started(1), at(2)), type: 'JobBeamed' };
    await store.append(jobStream(id), [created, beamed], { expected: 'no_stream' });
    expect((await collect(wholeTrail(store, id))).map(({ type }) => type)).toEqual([
      'JobCreated',
      'JobBeamed',
    ]);
  });

  test("is the owner's alone", async () => {
    const history = createJobHistory(store);
    const options = { from: TRAIL_START, limit: 5 };
    expect((await history.trail(jobs[0]!.id, USER, options))?.events.length).toBeGreaterThan(0);
    expect(await history.trail(jobs[0]!.id, 'someone-else', options)).toBeNull();
    expect(await history.trail(uuid(9, 9), USER, options)).toBeNull();
  });

  test('gives every event once while others are written, in pages of one to three', async () => {
    const id = uuid(9, 5);
    const written: string[] = [];
    const append = async (stream: string, batch: Parameters<typeof stored>[]): Promise<void> => {
      const { revision } = await store.append(
        stream,
        batch.map((event) => stored(...event)),
        { expected: 'any' },
      );
      written.push(...batch.map((_, n) => `${stream}@${revision - batch.length + 1 + n}`));
    };
    let second = 0;
    const write = async (): Promise<void> => {
      const context = { jobId: id, round: 1 };
      for (let attempt = 1; attempt <= 12; attempt++) {
        await append(jobStream(id), [[events.started(attempt, { attempt }), at(++second)]]);
        // The worker's clock is behind.
        const lines = [0, 1, 2].map(
          (n) => [logged(attempt, `line ${n}`, attempt, id), at(second - 5)] as Parameters<typeof stored>,
        );
        await append(jobLogStream(id), lines);
        const end =
          attempt < 12
            ? events.attemptFailed(attempt, { attempt })
            : events.failed(12, { attempt, webhook: true });
        await append(jobStream(id), [[end, at(++second)]]);
      }
      const told = {
        ...context,
        url: 'https://example.com/',
        body: '{}',
        statusCode: 500,
        success: false,
        error: 'no',
      };
      for (let attempt = 1; attempt <= 3; attempt++) {
        const data = { ...told, attempt, nextAttemptAt: null };
        await append(webhookStream(webhookId(id, 1)), [[{ type: 'WebhookAttempted', data }, at(second - 9)]]);
      }
    };
    await append(jobStream(id), [[events.created({ jobId: id }), at(0)]]);
    const writing = { ended: false };
    const writer = write().finally(() => (writing.ended = true));
    const read: RecordedEvent[] = [];
    let from: TrailPlace = TRAIL_START;
    for (let limit = 1; ; limit = (limit % 3) + 1) {
      const last = writing.ended;
      const page = await readTrail(store, id, { from, limit });
      expect(page.events.length).toBeLessThanOrEqual(limit);
      if (page.more) expect(page.events).toHaveLength(limit);
      read.push(...page.events);
      from = page.next;
      if (last && !page.more) break;
    }
    await writer;
    expect(namesOf(read).sort()).toEqual([...written].sort());
    for (const [, own] of streamsOf(read)) {
      expect(own.map(({ revision }) => revision)).toEqual(own.map((_, n) => n));
    }
    const placeOf = (type: string, executionId: string): number =>
      read.findIndex((event) => event.type === type && event.data['executionId'] === executionId);
    for (let attempt = 1; attempt <= 12; attempt++) {
      expect(placeOf('JobStarted', execution(attempt))).toBeLessThan(
        placeOf('JobLogged', execution(attempt)),
      );
    }
    const told = read.findIndex(({ type }) => type === 'WebhookAttempted');
    expect(read.findIndex(({ type }) => type === 'JobFailed')).toBeLessThan(told);
  });
});

test('a start that is stored while a page is read comes before what its execution reports', async () => {
  await using testDatabase = await createTestDatabase();
  const store = await openStore('Postgres', testDatabase);
  try {
    const [job, log] = [jobStream(JOB_ID), jobLogStream(JOB_ID)];
    await store.append(job, [stored(events.created(), at(0)), stored(events.started(1), at(1))], {
      expected: 'no_stream',
    });
    // As many as are read at a time: the log is looked at again in the middle of the page, the job's end is known by then.
    const lines = Array.from({ length: 100 }, (_, n) => stored(logged(1, `line ${n}`), at(2)));
    await store.append(log, lines, { expected: 'any' });
    let reads = 0;
    const busy: EventStore = {
      ...store,
      async read(stream, options) {
        if (stream === log && ++reads === 2) {
          await store.append(job, [stored(events.released(1), at(3)), stored(events.started(2), at(4))], {
            expected: 1,
          });
          // This worker's clock is far behind.
          await store.append(log, [stored(logged(2, 'from the second execution'), at(0))], {
            expected: 'any',
          });
        }
        return store.read(stream, options);
      },
    };
    const { events: page } = await readTrail(busy, JOB_ID, { from: TRAIL_START, limit: 500 });
    expect(reads).toBe(2);
    expect(namesOf(page).slice(-3)).toEqual([`${job}@2`, `${job}@3`, `${log}@100`]);
  } finally {
    await store.close();
  }
});

test('a page of a long trail costs a few reads, wherever it begins, and holds about a mebibyte at most', async () => {
  await using testDatabase = await createTestDatabase();
  const store = await openStore('Postgres', testDatabase);
  try {
    await store.append(
      jobStream(JOB_ID),
      [stored(events.created(), at(0)), stored(events.started(1), at(1))],
      { expected: 'no_stream' },
    );
    const lines = Array.from({ length: 5_000 }, (_, n) =>
      stored(logged(1, `line ${n} `.padEnd(2_000, 'x')), at(1 + Math.floor(n / 100))),
    );
    for (let n = 0; n < lines.length; n += 250) {
      await store.append(jobLogStream(JOB_ID), lines.slice(n, n + 250), { expected: 'any' });
    }
    await store.append(jobStream(JOB_ID), [stored(events.completed(1), at(60))], { expected: 1 });
    const reads: number[] = [];
    const counted: EventStore = {
      ...store,
      async read(stream, options) {
        const page = await store.read(stream, options);
        reads.push(page.length);
        return page;
      },
    };
    const middle = await readTrail(counted, JOB_ID, {
      from: { job: 2, log: 4_000, webhooks: [] },
      limit: 20,
    });
    expect(middle.events.map(({ revision }) => revision)).toEqual(
      Array.from({ length: 20 }, (_, n) => 4_000 + n),
    );
    expect(reads.length).toBeLessThan(6);
    expect(reads.reduce((sum, events) => sum + events, 0)).toBeLessThan(50);

    const large = await readTrail(counted, JOB_ID, { from: TRAIL_START, limit: 1_000 });
    expect(large.more).toBe(true);
    const bytes = Buffer.byteLength(JSON.stringify(large.events.map(({ data }) => data)));
    expect(bytes).toBeGreaterThan(1_000_000);
    expect(bytes).toBeLessThan(1_060_000);

    let seen = 0;
    for await (const event of wholeTrail(store, JOB_ID))
      if (event.type === 'JobLogged') expect(event.revision).toBe(seen++);
    expect(seen).toBe(5_000);
  } finally {
    await store.close();
  }
});
