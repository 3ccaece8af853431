import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createJobCommandHandler, loadJob } from '../../src/commands/handle-command.ts';
import type { CommandContext } from '../../src/commands/handle-command.ts';
import {
  IdempotencyKeyReusedError,
  JobExistsError,
  JobNotCancellableError,
  JobNotFoundError,
  StaleEntryError,
} from '../../src/commands/job-decider.ts';
import { EventTooLargeError } from '../../src/events/event-store.ts';
import type { EventStore } from '../../src/events/event-store.ts';
import { jobStream } from '../../src/events/job.ts';
import { createPostgresEventStore } from '../../src/infrastructure/postgres/event-store.ts';
import { createTestDatabase, silentLogger } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { commands, execution, JOB_ID, NOW, USER } from '../support/job-spec.ts';

const context: CommandContext = {
  actor: { kind: 'user', id: USER },
  correlationId: 'request-1',
  causationId: 'request-1',
};

let db: TestDatabase;
let store: EventStore;
beforeEach(async () => {
  db = await createTestDatabase();
  store = createPostgresEventStore({ url: db.url, database: db.database, logger: silentLogger });
});
afterEach(async () => {
  await store.close();
  await db.drop();
});

const types = async (): Promise<string[]> => (await store.read(jobStream(JOB_ID))).map(({ type }) => type);

/** The reasons of what was refused, by class. */
async function refusals(outcomes: readonly Promise<unknown>[]): Promise<unknown[]> {
  const settled = await Promise.allSettled(outcomes);
  return settled.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
}

describe('one command', () => {
  it('writes its events with their trace and answers with the job after them', async () => {
    const handle = createJobCommandHandler(store, () => Date.parse(NOW));
    const { job, events } = await handle(JOB_ID, commands.create(), context);
    const [recorded] = await store.read(jobStream(JOB_ID));
    expect(recorded).toMatchObject({
      type: 'JobCreated',
      revision: 0,
      data: events[0]?.data,
      metadata: { schemaVersion: 2, ...context, occurredAt: NOW },
    });
    expect(await loadJob(store, JOB_ID)).toEqual(job);
  });

  it('writes nothing when it is refused', async () => {
    const handle = createJobCommandHandler(store);
    await expect(handle(JOB_ID, commands.cancel(), context)).rejects.toThrow(JobNotFoundError);
    await handle(JOB_ID, commands.create(), context);
    await expect(handle(JOB_ID, commands.create(), context)).rejects.toThrow(JobExistsError);
    await expect(handle(JOB_ID, commands.start(1, { attempt: 2 }), context)).rejects.toThrow(StaleEntryError);
    expect(await types()).toEqual(['JobCreated']);
  });

  it('writes nothing when what it asks for is so already', async () => {
    const handle = createJobCommandHandler(store);
    await handle(JOB_ID, commands.create(), context);
    const { job } = await handle(JOB_ID, commands.start(1), context);
    const again = await handle(JOB_ID, commands.start(1), context);
    expect(again).toEqual({ job, events: [] });
    expect(await types()).toEqual(['JobCreated', 'JobStarted']);
  });

  it('is refused when its event is too large to be stored', async () => {
    const handle = createJobCommandHandler(store);
    const create = commands.create({ payload: { text: 'x'.repeat(1_000_000) } });
    await expect(handle(JOB_ID, create, context)).rejects.toThrow(EventTooLargeError);
    expect(await types()).toEqual([]);
  });

  it('finds out what has happened since the caller read the job', async () => {
    const handle = createJobCommandHandler(store);
    const { job: known } = await handle(JOB_ID, commands.create(), context);
    await handle(JOB_ID, commands.cancel(), context);
    await expect(handle(JOB_ID, commands.start(1), context, known)).rejects.toThrow(StaleEntryError);
    expect(await types()).toEqual(['JobCreated', 'JobCancelled']);
  });

  it('keeps time from running backwards when a clock does', async () => {
    const times = ['2026-05-19T10:00:00.000Z', '2026-05-19T09:00:00.000Z', '2026-05-19T10:00:03.000Z'];
    const clock = times.map((time) => Date.parse(time));
    const handle = createJobCommandHandler(store, () => clock.shift() ?? Number.NaN);
    for (const command of [commands.create(), commands.start(1), commands.complete(1)]) {
      await handle(JOB_ID, command, context);
    }
    const recorded = await store.read(jobStream(JOB_ID));
    expect(recorded.map(({ metadata }) => metadata.occurredAt)).toEqual([times[0], times[0], times[2]]);
  });
});

describe('commands that race', () => {
  it('let exactly one of 20 cancel the job', async () => {
    const handle = createJobCommandHandler(store);
    await handle(JOB_ID, commands.create(), context);
    const refused = await refusals(
      Array.from({ length: 20 }, () => handle(JOB_ID, commands.cancel(), context)),
    );
    expect(refused).toHaveLength(19);
    for (const reason of refused) expect(reason).toBeInstanceOf(JobNotCancellableError);
    expect(await types()).toEqual(['JobCreated', 'JobCancelled']);
  });

  it('let exactly one of 20 create the job', async () => {
    const handle = createJobCommandHandler(store);
    const refused = await refusals(
      Array.from({ length: 20 }, () => handle(JOB_ID, commands.create(), context)),
    );
    expect(refused).toHaveLength(19);
    for (const reason of refused) expect(reason).toBeInstanceOf(JobExistsError);
  });

  it('make one job of equal creations that may be repeated, in one process and in several', async () => {
    const processes = Array.from({ length: 5 }, () => createJobCommandHandler(store));
    const request = commands.create({ requestHash: 'a'.repeat(64) });
    const outcomes = await Promise.all(
      processes.flatMap((handle) => [1, 2, 3].map(() => handle(JOB_ID, request, context))),
    );
    expect(outcomes.filter(({ events }) => events.length > 0)).toHaveLength(1);
    const job = await loadJob(store, JOB_ID);
    for (const outcome of outcomes) expect(outcome.job).toEqual(job);

    const others = [commands.create({ requestHash: 'b'.repeat(64) }), { ...request, userId: 'user-2' }];
    const refused = await refusals(
      others.flatMap((other) => processes.map((handle) => handle(JOB_ID, other, context))),
    );
    expect(refused).toHaveLength(10);
    for (const reason of refused) expect(reason).toBeInstanceOf(IdempotencyKeyReusedError);
    expect(await types()).toEqual(['JobCreated']);
  });

  it('let either the start or the cancel win, from different processes too', async () => {
    const elsewhere = createPostgresEventStore({ url: db.url, database: db.database, logger: silentLogger });
    const [api, worker] = [createJobCommandHandler(store), createJobCommandHandler(elsewhere)];
    try {
      for (let round = 1; round <= 25; round++) {
        if (round === 1) await api(JOB_ID, commands.create(), context);
        else await api(JOB_ID, commands.retry(), context);
        const [cancelled, started] = await Promise.allSettled([
          api(JOB_ID, commands.cancel(), context),
          worker(JOB_ID, commands.start(round, { round }), context),
        ]);
        expect([cancelled.status, started.status].sort()).toEqual(['fulfilled', 'rejected']);
        if (cancelled.status === 'rejected') expect(cancelled.reason).toBeInstanceOf(JobNotCancellableError);
        if (started.status === 'rejected') expect(started.reason).toBeInstanceOf(StaleEntryError);
        if (started.status === 'fulfilled') {
          await worker(JOB_ID, commands.fail(round, { retryable: false }), context);
        }
      }
    } finally {
      await elsewhere.close();
    }
  });

  it('let exactly one of several workers start the job, and only that one end it', async () => {
    const handle = createJobCommandHandler(store);
    await handle(JOB_ID, commands.create(), context);
    const workers = Array.from({ length: 10 }, (_, index) => index + 1);
    const starts = await Promise.allSettled(workers.map((n) => handle(JOB_ID, commands.start(n), context)));
    expect(starts.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    const job = await loadJob(store, JOB_ID);
    const refused = await refusals(workers.map((n) => handle(JOB_ID, commands.complete(n), context)));
    expect(refused).toHaveLength(9);
    const winner = workers.find((n) => execution(n) === job?.execution?.id);
    const [end] = (await store.read(jobStream(JOB_ID))).slice(-1);
    expect(end).toMatchObject({ type: 'JobCompleted', data: { executionId: execution(winner ?? 0) } });
  });
});
