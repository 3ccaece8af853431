import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { UnavailableError } from '../../src/errors.ts';
import { jobLogStream, jobStream } from '../../src/events/job.ts';
import { NonRetryableError } from '../../src/workers/handler.ts';
import { events, execution } from '../support/job-spec.ts';
import { stored } from '../support/store.ts';
import { createGate, eventually } from '../support/waiting.ts';
import { createWorkplace, watched } from '../support/work.ts';
import type { TestHandler } from '../support/work.ts';

const succeed: TestHandler = { run: () => Promise.resolve({ sent: true }) };
/** Runs until it is told to stop. */
const untilAborted: TestHandler['run'] = async (_, { signal }) => {
  if (!signal.aborted) await once(signal, 'abort');
  throw signal.reason;
};

type Workplace = Awaited<ReturnType<typeof createWorkplace>>;
const ended = (workplace: Workplace, jobId: string, type: string) =>
  eventually(async () => (await workplace.typesOf(jobId)).at(-1) === type, 15_000);

/** A job that some other worker's execution has, as its stream and the heartbeats tell. */
async function runsElsewhere(workplace: Workplace): Promise<string> {
  const jobId = randomUUID();
  const history = [events.created({ jobId }), events.started(1, { workerId: 'other', heartbeat: 7 })].map(
    (event) => stored(event),
  );
  await workplace.store.append(jobStream(jobId), history, { expected: 'no_stream' });
  return jobId;
}

async function setOtherHeartbeat(
  workplace: Workplace,
  row: { heartbeat: number; executions: string[]; age: string; types?: string[] },
): Promise<void> {
  await workplace.database.query(
    `INSERT INTO workers (worker_id, heartbeat, executions, handler_types, beat_at)
     VALUES ('other', $1, $2, $3, clock_timestamp() - $4::interval)
     ON CONFLICT (worker_id) DO UPDATE SET heartbeat = excluded.heartbeat, executions = excluded.executions, beat_at = excluded.beat_at`,
    [row.heartbeat, row.executions, row.types ?? [], row.age],
  );
}

const lookOften = { running: 50, handler: 50 };

describe('the runner', () => {
  it('runs a job to its end with exactly the events of that, and its log', async () => {
    const workplace = await createWorkplace();
    workplace.dispatch();
    await workplace.work({
      'send-email': {
        run: (payload, ctx) => {
          ctx.log(`to ${JSON.stringify(payload['to'])}`);
          ctx.progress(100, 'sent');
          return Promise.resolve({ sent: true, attempt: ctx.attempt });
        },
      },
    });
    const jobId = await workplace.submit('send-email', { payload: { to: 'a@example.com' } });
    await ended(workplace, jobId, 'JobCompleted');
    expect(await workplace.eventsOf(jobId)).toMatchObject([
      { type: 'JobCreated' },
      {
        type: 'JobStarted',
        data: { type: 'send-email', round: 1, attempt: 1, supersedes: null, maxAttempts: 3 },
      },
      { type: 'JobCompleted', data: { round: 1, attempt: 1, result: { sent: true, attempt: 1 } } },
    ]);
    // The log is in the store before the end is.
    const log = await workplace.store.read(jobLogStream(jobId));
    expect(log.map(({ data }) => data)).toMatchObject([
      { message: 'to "a@example.com"' },
      { percent: 100, note: 'sent' },
    ]);
    // Who caused what: the request, then the event before.
    const [created, started, completed] = await workplace.store.read(jobStream(jobId));
    expect(started!.metadata).toMatchObject({ correlationId: 'request', causationId: created!.id });
    expect(completed!.metadata).toMatchObject({ correlationId: 'request', actor: { kind: 'worker' } });
    await eventually(async () => (await workplace.database.query('SELECT FROM open_work')).rowCount === 0);
  });

  it('tries a failing attempt again with growing waits, until there are none left', async () => {
    const workplace = await createWorkplace();
    workplace.dispatch();
    await workplace.work({ flaky: { run: (_, { attempt }) => Promise.reject(new Error(`no ${attempt}`)) } });
    const jobId = await workplace.submit('flaky');
    await ended(workplace, jobId, 'JobFailed');
    const told = await workplace.eventsOf(jobId);
    expect(told).toMatchObject([
      { type: 'JobCreated' },
      { type: 'JobStarted', data: { attempt: 1 } },
      { type: 'JobAttemptFailed', data: { attempt: 1, error: 'no 1' } },
      { type: 'JobStarted', data: { attempt: 2 } },
      { type: 'JobAttemptFailed', data: { attempt: 2, error: 'no 2' } },
      { type: 'JobStarted', data: { attempt: 3 } },
      { type: 'JobFailed', data: { attempt: 3, error: 'no 3', reason: 'attempts-exhausted' } },
    ]);
    const stored = await workplace.store.read(jobStream(jobId));
    const waits = told.flatMap((event, n) =>
      event.type === 'JobAttemptFailed'
        ? [Date.parse(event.data.retryAt) - Date.parse(stored[n]!.metadata.occurredAt)]
        : [],
    );
    expect(waits).toEqual([20, 40]);
    // No start before its time.
    for (const [n, event] of told.entries()) {
      if (event.type !== 'JobAttemptFailed') continue;
      expect(stored[n + 1]!.metadata.occurredAt >= event.data.retryAt).toBe(true);
    }
  });

  it('has as many attempts as the handler says, or as the submission says if those are fewer', async () => {
    const workplace = await createWorkplace();
    workplace.dispatch();
    await workplace.work({ flaky: { maxAttempts: 2, run: () => Promise.reject(new Error('no')) } });
    const jobs = [
      await workplace.submit('flaky', { maxAttempts: 1 }),
      await workplace.submit('flaky'),
      await workplace.submit('flaky', { maxAttempts: 9 }),
    ];
    for (const id of jobs) await ended(workplace, id, 'JobFailed');
    const starts = async (id: string) =>
      (await workplace.typesOf(id)).filter((type) => type === 'JobStarted').length;
    expect(await Promise.all(jobs.map(starts))).toEqual([1, 2, 2]);
  });

  it.each([
    ['a handler says so', { run: () => Promise.reject(new NonRetryableError('never')) }, 'never'],
    [
      'its result is too large',
      { run: () => Promise.resolve('x'.repeat(300_000)) },
      /result of 300002 bytes exceeds the limit/,
    ],
    [
      'its payload does not fit',
      { ...succeed, checkPayload: () => ({ to: ['is missing'] }) },
      /to: is missing/,
    ],
  ] as [string, TestHandler, string | RegExp][])('fails a job at once when %s', async (_, handler, error) => {
    const workplace = await createWorkplace();
    workplace.dispatch();
    await workplace.work({ broken: handler });
    const jobId = await workplace.submit('broken');
    await ended(workplace, jobId, 'JobFailed');
    expect(await workplace.typesOf(jobId)).toEqual(['JobCreated', 'JobStarted', 'JobFailed']);
    const data = (await workplace.eventsOf(jobId)).at(-1)!.data;
    expect(data).toMatchObject({
      reason: 'not-retryable',
      error: typeof error === 'string' ? error : (expect.stringMatching(error) as string),
    });
  });

  it('ends an attempt that takes too long, also when its handler takes no notice', async () => {
    const workplace = await createWorkplace();
    workplace.dispatch();
    await workplace.work({
      slow: { timeoutMs: 60_000, maxAttempts: 1, run: untilAborted },
      deaf: {
        timeoutMs: 50,
        maxAttempts: 1,
        run: (_, { signal }) => once(signal, 'abort').then(() => 'a result after the end'),
      },
    });
    // A submission may ask for less than the handler has, and not for more.
    const slow = await workplace.submit('slow', { timeoutMs: 40 });
    const deaf = await workplace.submit('deaf', { timeoutMs: 60_000 });
    await ended(workplace, slow, 'JobFailed');
    await ended(workplace, deaf, 'JobFailed');
    expect((await workplace.eventsOf(slow)).at(-1)!.data).toMatchObject({ error: 'Timed out after 40 ms' });
    expect((await workplace.eventsOf(deaf)).at(-1)!.data).toMatchObject({ error: 'Timed out after 50 ms' });
  });

  it('keeps of an odd error what can be stored', async () => {
    const workplace = await createWorkplace();
    workplace.dispatch();
    const odd = `\u0000${'x'.repeat(9_000)}`;
    await workplace.work({ odd: { maxAttempts: 1, run: () => Promise.reject(new Error(odd)) } });
    const jobId = await workplace.submit('odd');
    await ended(workplace, jobId, 'JobFailed');
    const [last] = (await workplace.eventsOf(jobId)).slice(-1);
    expect(last).toMatchObject({ data: { error: expect.stringMatching(/^\uFFFDx{1999}…$/) as string } });
  });

  it('hands a job back on stop at no cost, and another worker finishes it', async () => {
    const workplace = await createWorkplace();
    workplace.dispatch();
    const running = createGate();
    const first = await workplace.work({
      long: { run: (payload, ctx) => (running.open(), untilAborted(payload, ctx)) },
    });
    const jobId = await workplace.submit('long');
    await running.opened;
    await first.stop();
    await first.stop();
    expect((await workplace.database.query('SELECT FROM workers')).rowCount).toBe(0);
    await workplace.work({ long: succeed }, { queue: await workplace.openQueue() });
    await ended(workplace, jobId, 'JobCompleted');
    expect(await workplace.eventsOf(jobId)).toMatchObject([
      { type: 'JobCreated' },
      { type: 'JobStarted', data: { attempt: 1 } },
      { type: 'JobReleased', data: { attempt: 1, reason: 'the worker is shutting down' } },
      { type: 'JobStarted', data: { attempt: 1, supersedes: null } },
      { type: 'JobCompleted', data: { attempt: 1 } },
    ]);
  });

  it('lets a handler finish within the grace of a stop', async () => {
    const workplace = await createWorkplace();
    workplace.dispatch();
    const running = createGate();
    const goOn = createGate();
    const runner = await workplace.work(
      { long: { run: () => (running.open(), goOn.opened.then(() => 'finished')) } },
      { shutdownGraceMs: 60_000 },
    );
    const jobId = await workplace.submit('long');
    await running.opened;
    const stopping = runner.stop();
    goOn.open();
    await stopping;
    expect(await workplace.typesOf(jobId)).toEqual(['JobCreated', 'JobStarted', 'JobCompleted']);
  });

  it('hands back a job whose start was under way when the grace was over', async () => {
    const workplace = await createWorkplace();
    workplace.dispatch();
    const looking = createGate();
    const goOn = createGate();
    const runner = await workplace.work(
      { long: { run: untilAborted } },
      {
        // The store answers the first look at the job when the worker has long been told to stop.
        store: {
          ...workplace.store,
          read: async (stream, options) => {
            looking.open();
            await goOn.opened;
            return workplace.store.read(stream, options);
          },
        },
      },
    );
    const jobId = await workplace.submit('long');
    await looking.opened;
    const stopping = runner.stop();
    setTimeout(goOn.open, 20);
    await stopping;
    expect(await workplace.typesOf(jobId)).toEqual(['JobCreated', 'JobStarted', 'JobReleased']);
  });

  it('drops entries that are not what the job waits for', async () => {
    const workplace = await createWorkplace();
    const { queue } = workplace;
    workplace.dispatch();
    let runs = 0;
    await workplace.work({ once: { run: () => Promise.resolve(++runs) } });
    const jobId = await workplace.submit('once');
    await ended(workplace, jobId, 'JobCompleted');
    const entry = (attempt: number, id = jobId) =>
      ({ kind: 'job', jobId: id, round: 1, attempt, dueAt: new Date() }) as const;
    const old = [entry(1), entry(2), entry(1, randomUUID())];
    await eventually(async () => (await queue.missing([entry(1)])).length === 1);
    await queue.add(old);
    await eventually(async () => (await queue.missing(old)).length === 3);
    expect(await workplace.typesOf(jobId)).toEqual(['JobCreated', 'JobStarted', 'JobCompleted']);
    expect(runs).toBe(1);
  });

  it('does not start a job before it is due, whatever the queue says', async () => {
    const workplace = await createWorkplace();
    const runAt = new Date(Date.now() + 700).toISOString();
    await workplace.work({ later: succeed });
    const jobId = await workplace.submit('later', { runAt });
    await workplace.queue.add([{ kind: 'job', jobId, round: 1, attempt: 1, dueAt: new Date() }]);
    await ended(workplace, jobId, 'JobCompleted');
    const [, started] = await workplace.store.read(jobStream(jobId));
    expect(started!.metadata.occurredAt >= runAt).toBe(true);
  });

  it('drops the outcome of an execution that was replaced', async () => {
    const workplace = await createWorkplace();
    workplace.dispatch();
    const running = createGate();
    const goOn = createGate();
    await workplace.work({ long: { run: () => (running.open(), goOn.opened.then(() => 'too late')) } });
    const jobId = await workplace.submit('long');
    await running.opened;
    const [, started] = await workplace.eventsOf(jobId);
    const supersedes = (started!.data as { executionId: string }).executionId;
    await workplace.send(jobId, {
      type: 'StartJob',
      round: 1,
      attempt: 1,
      executionId: execution(9),
      workerId: 'other',
      heartbeat: 1,
      supersedes,
      defaultMaxAttempts: 3,
      backoffMs: 20,
    });
    goOn.open();
    const entry = { kind: 'job', jobId, round: 1, attempt: 1 } as const;
    await eventually(async () => (await workplace.queue.missing([entry])).length === 1);
    await workplace.send(jobId, { type: 'CompleteJob', executionId: execution(9), result: 'in time' });
    expect(await workplace.typesOf(jobId)).toEqual([
      'JobCreated',
      'JobStarted',
      'JobStarted',
      'JobCompleted',
    ]);
    expect((await workplace.eventsOf(jobId)).at(-1)!.data).toMatchObject({ result: 'in time' });
  });

  it('offers an outcome again when the store does not answer', async () => {
    const workplace = await createWorkplace();
    workplace.dispatch();
    let failures = 0;
    const { send } = workplace;
    await workplace.work(
      { work: succeed },
      {
        commands: async (jobId, command) => {
          if (command.type === 'CompleteJob' && failures++ < 2)
            throw new UnavailableError('event store', 'away');
          return send(jobId, command);
        },
      },
    );
    const jobId = await workplace.submit('work');
    await ended(workplace, jobId, 'JobCompleted');
    expect(await workplace.typesOf(jobId)).toEqual(['JobCreated', 'JobStarted', 'JobCompleted']);
  });

  it('cancels a job whose handler does not obey, when the finisher is due', async () => {
    const workplace = await createWorkplace();
    const jobId = await runsElsewhere(workplace);
    await setOtherHeartbeat(workplace, { heartbeat: 8, executions: [execution(1)], age: '-1 hour' });
    await workplace.send(jobId, { type: 'CancelJob', userId: 'user-1', force: true });
    await workplace.work({ 'send-email': succeed });
    await workplace.queue.add([{ kind: 'cancel-finisher', jobId, round: 1, attempt: 1, dueAt: new Date() }]);
    await ended(workplace, jobId, 'JobCancelled');
  });
});

describe('takeover', () => {
  it.each([
    ['has no heartbeat', null],
    ['has not renewed its heartbeat', { heartbeat: 7, executions: [execution(1)], age: '11 seconds' }],
    ['no longer lists it', { heartbeat: 8, executions: [execution(2)], age: '-1 hour' }],
  ])('takes a job over from a worker that %s', async (_, row) => {
    const workplace = await createWorkplace();
    const jobId = await runsElsewhere(workplace);
    if (row) await setOtherHeartbeat(workplace, row);
    workplace.dispatch();
    await workplace.work({ 'send-email': succeed });
    await ended(workplace, jobId, 'JobCompleted');
    expect(await workplace.eventsOf(jobId)).toMatchObject([
      { type: 'JobCreated' },
      { type: 'JobStarted', data: { executionId: execution(1) } },
      { type: 'JobStarted', data: { attempt: 1, supersedes: execution(1) } },
      { type: 'JobCompleted', data: { attempt: 1 } },
    ]);
  });

  it.each([
    ['that lists it', { heartbeat: 8, executions: [execution(1)], age: '-1 hour' }],
    // Its heartbeat was composed before the start: it proves nothing.
    ['whose last heartbeat is from before the start', { heartbeat: 7, executions: [], age: '-1 hour' }],
  ])('leaves a job to a worker that is alive %s', async (_, row) => {
    const workplace = await createWorkplace();
    const jobId = await runsElsewhere(workplace);
    await setOtherHeartbeat(workplace, row);
    workplace.dispatch();
    let looks = 0;
    const database = watched(workplace.database, (sql) => {
      if (sql.includes('FROM workers WHERE worker_id')) looks++;
    });
    await workplace.work({ 'send-email': succeed }, { database, lookAgainMs: lookOften });
    await eventually(() => looks >= 3);
    expect(await workplace.typesOf(jobId)).toEqual(['JobCreated', 'JobStarted']);
    // And takes it over as soon as that worker no longer lists it.
    await setOtherHeartbeat(workplace, { heartbeat: 9, executions: [], age: '0 seconds' });
    await ended(workplace, jobId, 'JobCompleted');
  });

  it('leaves a type that some worker announces to that worker, and runs it when nobody does', async () => {
    const workplace = await createWorkplace();
    await setOtherHeartbeat(workplace, { heartbeat: 1, executions: [], age: '-1 hour', types: ['special'] });
    workplace.dispatch();
    let looks = 0;
    const database = watched(workplace.database, (sql) => {
      if (sql.includes('unnest(handler_types)')) looks++;
    });
    await workplace.work({ default: succeed }, { database, lookAgainMs: lookOften });
    const jobId = await workplace.submit('special');
    await eventually(() => looks >= 3);
    expect(await workplace.typesOf(jobId)).toEqual(['JobCreated']);
    await workplace.database.query(`DELETE FROM workers WHERE worker_id = 'other'`);
    await ended(workplace, jobId, 'JobCompleted');
  });

  it('stops its handlers when it cannot renew its heartbeat, starts none until it can, and then goes on', async () => {
    const workplace = await createWorkplace();
    workplace.dispatch();
    let cut = false;
    let refused = 0;
    const database = watched(workplace.database, (sql) => {
      if (!cut || !sql.includes('INSERT INTO workers')) return;
      refused++;
      throw new UnavailableError('postgres', 'cut');
    });
    const running = createGate();
    let runs = 0;
    const handler: TestHandler = {
      run: (payload, ctx) => {
        runs++;
        running.open();
        return runs === 1 ? untilAborted(payload, ctx) : Promise.resolve('done');
      },
    };
    await workplace.work({ long: handler }, { database, beatMs: 250 });
    const jobId = await workplace.submit('long');
    await running.opened;
    cut = true;
    await eventually(async () => (await workplace.typesOf(jobId)).includes('JobReleased'));
    const later = await workplace.submit('long');
    const before = refused;
    await eventually(() => refused > before + 3);
    expect(runs).toBe(1);
    expect(await workplace.typesOf(later)).toEqual(['JobCreated']);
    cut = false;
    await ended(workplace, jobId, 'JobCompleted');
    await ended(workplace, later, 'JobCompleted');
    expect((await workplace.eventsOf(jobId))[2]).toMatchObject({
      data: { reason: 'the worker lost its heartbeat' },
    });
  });
});
