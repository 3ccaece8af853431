import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { expect, onTestFinished, test, vi } from 'vitest';
import { UnavailableError } from '../../src/errors.ts';
import { decodeEvent } from '../../src/events/codec.ts';
import { readStream } from '../../src/events/event-store.ts';
import type { EventStore, NewEvent, RecordedEvent } from '../../src/events/event-store.ts';
import { jobLogStream } from '../../src/events/job.ts';
import { createPostgresEventStore } from '../../src/infrastructure/postgres/event-store.ts';
import { ExecutionLog } from '../../src/workers/execution-log.ts';
import { createTestDatabase, silentLogger } from '../support/database.ts';

interface Setup {
  readonly log: ExecutionLog;
  readonly executionId: string;
  /** Every append that reached the log's store, refused or not. */
  readonly appends: (readonly NewEvent[])[];
  /** What the service's own log got. */
  readonly complaints: Record<string, unknown>[];
  readonly stored: () => Promise<RecordedEvent[]>;
  /** The messages and percentages stored, in order. */
  readonly reports: () => Promise<unknown[]>;
}

const context = { actor: { kind: 'worker', id: 'w1' }, correlationId: 'c1', causationId: 'e1' } as const;

/** @param refuse called before each append; throws to refuse it */
async function setup(refuse: (append: number) => void = () => undefined): Promise<Setup> {
  const db = await createTestDatabase();
  onTestFinished(() => db.drop());
  const store = createPostgresEventStore({ url: db.url, database: db.database, logger: silentLogger });
  onTestFinished(() => store.close());
  const appends: (readonly NewEvent[])[] = [];
  const watched: EventStore = {
    ...store,
    append(stream, events, options) {
      appends.push(events);
      refuse(appends.length);
      return store.append(stream, events, options);
    },
  };
  const complaints: Record<string, unknown>[] = [];
  const write = (line: string): void => void complaints.push(JSON.parse(line) as Record<string, unknown>);
  const job = { id: randomUUID(), round: 2, attempt: 3 };
  const executionId = randomUUID();
  const log = new ExecutionLog({ store: watched, job, executionId, context, logger: pino({}, { write }) });
  const stored = async () => {
    const events: RecordedEvent[] = [];
    for await (const event of readStream(store, jobLogStream(job.id))) events.push(event);
    return events;
  };
  const reports = async () =>
    (await stored()).map(({ data }) => ('message' in data ? data.message : [data.percent, data.note]));
  return { log, executionId, appends, complaints, stored, reports };
}

const numbered = (count: number): string[] => Array.from({ length: count }, (_, index) => `line ${index}`);

test('what is reported is stored in order, in one append, with whose and which execution it was', async () => {
  const { log, executionId, appends, stored, reports } = await setup();
  log.log('first');
  log.progress(50, 'half');
  log.log('last');
  await log.close();
  expect(await reports()).toEqual(['first', [50, 'half'], 'last']);
  expect(appends).toHaveLength(1);
  for (const event of await stored()) {
    expect(decodeEvent(event).data).toMatchObject({ round: 2, attempt: 3, executionId });
    expect(event.metadata).toMatchObject(context);
  }
});

test('is stored while the handler still runs', async () => {
  const { log, reports } = await setup();
  log.log('early');
  await expect.poll(reports, { timeout: 10_000 }).toEqual(['early']);
  log.log('later');
  await expect.poll(reports, { timeout: 10_000 }).toEqual(['early', 'later']);
  await log.close();
});

test('of progress in quick succession the newest is kept, in its place', async () => {
  const { log, reports } = await setup();
  for (let percent = 0; percent <= 40; percent++) log.progress(percent);
  log.log('between');
  for (let percent = 41; percent <= 80; percent++) log.progress(percent);
  await log.close();
  expect(await reports()).toEqual(['between', [80, null]]);
});

test('lines beyond those that may wait are dropped, and the last line counts them', async () => {
  const { log, reports } = await setup();
  for (const line of numbered(1_500)) log.log(line);
  await log.close();
  expect(await reports()).toEqual([
    ...numbered(1_000),
    '500 log lines are missing: the handler wrote faster than they could be stored',
  ]);
});

test('an append is bounded in bytes', async () => {
  const { log, appends, stored } = await setup();
  for (let line = 0; line < 400; line++) log.log('"'.repeat(8_192));
  await log.close();
  expect(await stored()).toHaveLength(400);
  for (const events of appends) expect(JSON.stringify(events).length).toBeLessThan(510_000);
});

test('a store that is away for a moment loses and doubles nothing', async () => {
  const { log, appends, complaints, reports } = await setup((append) => {
    if (append === 1 || append === 3) throw new UnavailableError('event store', 'away');
  });
  for (const line of numbered(120)) log.log(line);
  await log.close();
  expect(await reports()).toEqual(numbered(120));
  expect(appends[1]?.map(({ id }) => id)).toEqual(appends[0]?.map(({ id }) => id));
  expect(complaints).toEqual([]);
});

test('a store that stays away is given up loudly, and the job goes on', async () => {
  const { log, complaints, stored } = await setup(() => {
    throw new UnavailableError('event store', 'away');
  });
  for (const line of numbered(120)) log.log(line);
  await log.close();
  expect(await stored()).toEqual([]);
  expect(complaints).toEqual([
    expect.objectContaining({ level: 50, lost: 120, msg: 'A part of a job log could not be stored' }),
  ]);
});

test('another failure costs its batch alone', async () => {
  const { log, complaints, reports } = await setup((append) => {
    if (append === 1) throw new Error('no idea');
  });
  for (const line of numbered(60)) log.log(line);
  await log.close();
  expect(await reports()).toEqual(numbered(60).slice(50));
  expect(complaints).toEqual([expect.objectContaining({ lost: 50 })]);
});

test('time does not run backwards when the clock does', async () => {
  const { log, stored } = await setup();
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-05-19T10:00:05Z') });
  onTestFinished(() => void vi.useRealTimers());
  log.log('a');
  vi.setSystemTime(new Date('2026-05-19T10:00:01Z'));
  log.log('b');
  vi.setSystemTime(new Date('2026-05-19T10:00:06Z'));
  log.log('c');
  await log.close();
  const times = (await stored()).map(({ metadata }) => metadata.occurredAt);
  expect(times).toEqual(['2026-05-19T10:00:05.000Z', '2026-05-19T10:00:05.000Z', '2026-05-19T10:00:06.000Z']);
});

test('refuses what is too long, and takes nothing once it is closed', async () => {
  const { log, reports } = await setup();
  expect(() => log.log('x'.repeat(8_193))).toThrow(/exceeds the limit/);
  expect(() => log.progress(101)).toThrow(RangeError);
  await log.close();
  log.log('late');
  log.progress(100);
  await log.close();
  expect(await reports()).toEqual([]);
});
