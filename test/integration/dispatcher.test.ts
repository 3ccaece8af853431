import { describe, expect, it } from 'vitest';
import { UnavailableError } from '../../src/errors.ts';
import { jobStream } from '../../src/events/job.ts';
import { workId } from '../../src/workers/work-queue.ts';
import type { WorkEntry, WorkItem, WorkQueue } from '../../src/workers/work-queue.ts';
import { events } from '../support/job-spec.ts';
import { stored } from '../support/store.ts';
import { eventually } from '../support/waiting.ts';
import { createWorkplace } from '../support/work.ts';

/** A queue in memory whose loss and absence a test decides over: what the port promises, without a worker. */
function createPlainQueue() {
  const entries = new Map<string, WorkEntry>();
  const state = { away: false, adds: 0, refused: 0, epoch: null as bigint | null };
  let afterRead: (() => void) | null = null;
  let afterWrite: (() => void) | null = null;
  const answering = (): void => {
    if (!state.away) return;
    state.refused++;
    throw new UnavailableError('queue', 'away');
  };
  const queue: WorkQueue = {
    async add(added) {
      await Promise.resolve();
      state.adds++;
      answering();
      for (const entry of added) if (!entries.has(workId(entry))) entries.set(workId(entry), entry);
    },
    async missing(items) {
      await Promise.resolve();
      answering();
      return items.filter((item) => !entries.has(workId(item)));
    },
    async readEpoch() {
      await Promise.resolve();
      answering();
      const { epoch } = state;
      afterRead?.();
      afterRead = null;
      return epoch;
    },
    async replaceEpoch(found, next) {
      await Promise.resolve();
      answering();
      if (state.epoch !== found) return false;
      state.epoch = next;
      afterWrite?.();
      afterWrite = null;
      return true;
    },
    consume: () => ({ stop: () => Promise.resolve() }),
    close: () => Promise.resolve(),
  };
  function lose(epoch: bigint | null): void {
    entries.clear();
    state.epoch = epoch;
  }
  return {
    queue,
    state,
    entries,
    /** Once the reconciler has written an epoch, loses every entry and goes back to an older one. */
    loseTo: (epoch: bigint | null): Promise<void> =>
      new Promise((resolve) => {
        afterWrite = () => {
          lose(epoch);
          resolve();
        };
      }),
    /** Loses everything as soon as the reconciler has read the epoch, and before it writes one. */
    loseOnceRead: (): Promise<void> =>
      new Promise((resolve) => {
        afterRead = () => {
          lose(null);
          resolve();
        };
      }),
  };
}

const item = (jobId: string, attempt = 1, round = 1): WorkItem => ({ kind: 'job', jobId, round, attempt });
/** Never again within a test, so that only the dispatcher or only the first pass is at work. */
const NEVER = 3_600_000;
const often = { intervalMs: 50, settledMs: 0 };

async function setup() {
  const workplace = await createWorkplace();
  const plain = createPlainQueue();
  const openWork = async (): Promise<string[]> => {
    const { rows } = await workplace.database.query<{
      kind: WorkItem['kind'];
      job_id: string;
      round: number;
      attempt: number;
    }>('SELECT kind, job_id, round, attempt FROM open_work');
    return rows
      .map(({ kind, job_id, round, attempt }) => workId({ kind, jobId: job_id, round, attempt }))
      .sort();
  };
  return { ...workplace, ...plain, openWork };
}

describe('the dispatcher', () => {
  it('queues what was created, failed and retried, when it is due', async () => {
    const { dispatch, queue, entries, store, submit, send, openWork } = await setup();
    dispatch({ queue, intervalMs: NEVER });
    const runAt = '2199-01-01T00:00:00.000Z';
    const later = await submit('other', { runAt });
    const failing = await submit('other');
    const retryAt = '2199-01-02T00:00:00.000Z';
    const failed = [events.started(1), events.attemptFailed(1, { retryAt })].map((event) => stored(event));
    await store.append(jobStream(failing), failed, { expected: 0 });
    await eventually(() => entries.has(workId(item(failing, 2))));
    expect(entries.get(workId(item(later)))?.dueAt).toEqual(new Date(runAt));
    expect(entries.get(workId(item(failing, 2)))?.dueAt).toEqual(new Date(retryAt));
    await send(failing, { type: 'CancelJob', userId: 'user-1', force: false });
    await send(failing, { type: 'RetryJob', userId: 'user-1' });
    await eventually(() => entries.has(workId(item(failing, 1, 2))));
    expect(await openWork()).toEqual([workId(item(later)), workId(item(failing, 1, 2))].sort());
  });

  it('queues a finisher for a cancel request, 8 s later', async () => {
    const { dispatch, queue, entries, store, submit, send } = await setup();
    dispatch({ queue, intervalMs: NEVER });
    const jobId = await submit('other');
    await store.append(jobStream(jobId), [stored(events.started(1))], { expected: 0 });
    await send(jobId, { type: 'CancelJob', userId: 'user-1', force: true });
    const id = workId({ kind: 'cancel-finisher', jobId, round: 1, attempt: 1 });
    const { dueAt } = await eventually(() => entries.get(id));
    const requested = (await store.read(jobStream(jobId))).at(-1)!;
    expect(dueAt.getTime() - Date.parse(requested.metadata.occurredAt)).toBe(8_000);
  });

  it('queues nothing of what was over before it came to it', async () => {
    const { dispatch, queue, entries, store, submit, openWork } = await setup();
    const over = await submit('other');
    const ending = [events.started(1), events.completed(1)].map((event) => stored(event));
    await store.append(jobStream(over), ending, { expected: 0 });
    const open = await submit('other');
    dispatch({ queue, intervalMs: NEVER });
    await eventually(() => entries.size > 0);
    expect([...entries.keys()]).toEqual([workId(item(open))]);
    expect(await openWork()).toEqual([workId(item(open))]);
  });

  it('waits for a queue that is away, and jobs are accepted meanwhile', async () => {
    const { dispatch, queue, entries, state, submit } = await setup();
    state.away = true;
    dispatch({ queue, ...often });
    const jobs = [await submit('other'), await submit('other')];
    await eventually(() => state.adds >= 2);
    expect(entries.size).toBe(0);
    state.away = false;
    await eventually(() => jobs.every((jobId) => entries.has(workId(item(jobId)))));
  });
});

describe('the reconciler', () => {
  it('queues what a dispatcher committed and did not come to queue', async () => {
    const { dispatch, queue, entries, submit, openWork } = await setup();
    // It ends between the commit and the add.
    const add = () => Promise.reject(new UnavailableError('queue', 'away'));
    const ending = dispatch({ queue: { ...queue, add }, intervalMs: NEVER });
    const jobId = await submit('other');
    await eventually(async () => (await openWork()).length === 1);
    await ending.stop();
    expect(entries.size).toBe(0);
    dispatch({ queue, intervalMs: NEVER, settledMs: 0 });
    await eventually(() => entries.has(workId(item(jobId))));
  });

  it('puts back what is due and lost, without another look at what waits for its time', async () => {
    const { dispatch, queue, entries, submit } = await setup();
    dispatch({ queue, ...often });
    const due = workId(item(await submit('other')));
    const later = workId(item(await submit('other', { runAt: '2199-01-01T00:00:00.000Z' })));
    await eventually(() => entries.has(due) && entries.has(later));
    entries.clear();
    await eventually(() => entries.has(due));
    expect(entries.has(later)).toBe(false);
  });

  it('puts everything back, with its time, when the queue has lost its data', async () => {
    const { dispatch, queue, entries, submit, loseTo } = await setup();
    dispatch({ queue, ...often });
    const due = workId(item(await submit('other')));
    const runAt = '2199-01-01T00:00:00.000Z';
    const later = workId(item(await submit('other', { runAt })));
    await eventually(() => entries.has(due) && entries.has(later));
    await loseTo(null);
    await eventually(() => entries.has(due) && entries.has(later));
    expect(entries.get(later)?.dueAt).toEqual(new Date(runAt));
  });

  it('notices a queue that was put back to an older state', async () => {
    const { dispatch, queue, entries, state, submit, loseTo } = await setup();
    dispatch({ queue, ...often });
    await eventually(() => (state.epoch ?? 0n) >= 2n);
    const later = workId(item(await submit('other', { runAt: '2199-01-01T00:00:00.000Z' })));
    await eventually(() => entries.has(later));
    await loseTo(1n);
    await eventually(() => entries.has(later));
  });

  it('notices a loss between its reading of the epoch and its writing', async () => {
    const { dispatch, queue, entries, submit, loseOnceRead } = await setup();
    dispatch({ queue, ...often });
    const later = workId(item(await submit('other', { runAt: '2199-01-01T00:00:00.000Z' })));
    await eventually(() => entries.has(later));
    await loseOnceRead();
    await eventually(() => entries.has(later));
  });

  it('restores anew what is lost once more while it restores', async () => {
    const { dispatch, queue, entries, state, submit, loseTo } = await setup();
    let losing = true;
    const losesOnce: WorkQueue = {
      ...queue,
      async add(added) {
        await queue.add(added);
        if (state.epoch === null || state.epoch > 0n || !losing) return;
        losing = false;
        entries.clear();
        state.epoch = null;
      },
    };
    dispatch({ queue: losesOnce, ...often });
    const later = workId(item(await submit('other', { runAt: '2199-01-01T00:00:00.000Z' })));
    await eventually(() => entries.has(later));
    await loseTo(null);
    await eventually(() => !losing && entries.has(later));
  });

  it('restores after a loss that happened while no dispatcher ran', async () => {
    const { dispatch, queue, entries, state, submit } = await setup();
    const first = dispatch({ queue, ...often });
    const later = workId(item(await submit('other', { runAt: '2199-01-01T00:00:00.000Z' })));
    await eventually(() => entries.has(later) && state.epoch !== null);
    await first.stop();
    entries.clear();
    state.epoch = null;
    dispatch({ queue, intervalMs: NEVER });
    await eventually(() => entries.has(later));
  });

  it('goes through more open work than one page, all of the same time', async () => {
    const { dispatch, queue, entries, database } = await setup();
    await database.query(
      `INSERT INTO open_work SELECT 'job', gen_random_uuid(), 1, 1, '2026-01-01Z' FROM generate_series(1, 1234)`,
    );
    dispatch({ queue, intervalMs: NEVER });
    await eventually(() => entries.size === 1_234);
  });

  it('goes on when the queue has been away', async () => {
    const { dispatch, queue, entries, state, submit } = await setup();
    dispatch({ queue, ...often });
    const due = workId(item(await submit('other')));
    await eventually(() => entries.has(due));
    state.away = true;
    const { refused } = state;
    await eventually(() => state.refused > refused + 1);
    entries.clear();
    state.away = false;
    await eventually(() => entries.has(due));
  });

  it('puts back into a real queue what was lost there, and the job runs once', async () => {
    const { dispatch, database, work, submit, typesOf } = await setup();
    dispatch(often);
    const jobId = await submit('other');
    await eventually(async () => (await database.query('SELECT FROM bullmq.job')).rowCount === 1);
    await database.query('DELETE FROM bullmq.job');
    await database.query('DELETE FROM bullmq.asyncly_epoch');
    let runs = 0;
    await work({ default: { run: () => Promise.resolve(++runs) } });
    await eventually(async () => (await typesOf(jobId)).at(-1) === 'JobCompleted');
    expect(await typesOf(jobId)).toEqual(['JobCreated', 'JobStarted', 'JobCompleted']);
    expect(runs).toBe(1);
  });
});
