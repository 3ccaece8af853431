import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { createLocalBus } from '../../src/bus.ts';
import { hintingCancels } from '../../src/commands/cancel-hints.ts';
import { jobStream } from '../../src/events/job.ts';
import { silentLogger } from '../support/database.ts';
import { events, execution, USER } from '../support/job-spec.ts';
import { stored } from '../support/store.ts';
import { createGate, eventually } from '../support/waiting.ts';
import { createWorkplace } from '../support/work.ts';
import type { TestHandler } from '../support/work.ts';

const cancel = { type: 'CancelJob', userId: USER, force: true } as const;
const NEVER = 1_000_000;

/** Runs until it is told to stop, and says when it started and why it stopped. */
function waitingHandler() {
  const started = createGate();
  const stopped = createGate<string>();
  const handler: TestHandler = {
    run: async (_, { signal }) => {
      started.open();
      if (!signal.aborted) await once(signal, 'abort');
      stopped.open((signal.reason as Error).message);
      throw signal.reason;
    },
  };
  return { handler, started: started.opened, stopped: stopped.opened };
}

type Workplace = Awaited<ReturnType<typeof createWorkplace>>;
const ends = (workplace: Workplace, jobId: string, type: string) =>
  eventually(async () => (await workplace.typesOf(jobId)).at(-1) === type, 15_000);

test('a worker finds out by itself that a job it runs is to be cancelled', async () => {
  const workplace = await createWorkplace();
  workplace.dispatch();
  const { handler, started, stopped } = waitingHandler();
  await workplace.work({ wait: handler }, { lookForCancelsMs: 50 });
  const jobId = await workplace.submit('wait');
  await started;
  await workplace.send(jobId, cancel);
  expect(await stopped).toBe('the job is cancelled');
  await ends(workplace, jobId, 'JobCancelled');
  expect(await workplace.typesOf(jobId)).toEqual([
    'JobCreated',
    'JobStarted',
    'JobCancelRequested',
    'JobCancelled',
  ]);
});

test('the bus tells a worker at once', async () => {
  const workplace = await createWorkplace();
  workplace.dispatch();
  const { handler, started, stopped } = waitingHandler();
  const bus = createLocalBus(silentLogger);
  await workplace.work({ wait: handler }, { lookForCancelsMs: NEVER, bus });
  const jobId = await workplace.submit('wait');
  await started;
  const send = hintingCancels((id, command) => workplace.send(id, command), {
    publish: (channel, message) => bus.deliver(channel, message),
  });
  await send(jobId, cancel, { actor: { kind: 'user', id: USER }, correlationId: 'c', causationId: 'c' });
  expect(await stopped).toBe('the job is cancelled');
  await ends(workplace, jobId, 'JobCancelled');
});

test('a hint without a request stops nothing', async () => {
  const workplace = await createWorkplace();
  workplace.dispatch();
  const bus = createLocalBus(silentLogger);
  const gate = createGate();
  const started = createGate<string>();
  const handler: TestHandler = {
    run: async (_, { signal, jobId }) => {
      started.open(jobId);
      await gate.opened;
      return { aborted: signal.aborted };
    },
  };
  let looked = 0;
  const { store } = workplace;
  await workplace.work(
    { wait: handler },
    {
      lookForCancelsMs: NEVER,
      bus,
      store: {
        ...store,
        append: (...given) => store.append(...given),
        read: (...given) => {
          looked++;
          return store.read(...given);
        },
      },
    },
  );
  const jobId = await workplace.submit('wait');
  await started.opened;
  const startedEvent = (await workplace.eventsOf(jobId)).at(-1);
  if (startedEvent?.type !== 'JobStarted') throw new Error('The job has not started');
  const before = looked;
  bus.deliver('cancel-requested', { jobId, executionId: startedEvent.data.executionId });
  await eventually(() => looked > before);
  gate.open();
  await ends(workplace, jobId, 'JobCompleted');
  expect((await workplace.eventsOf(jobId)).at(-1)).toMatchObject({ data: { result: { aborted: false } } });
});

test('an execution whose job was ended without it is stopped, and its place is free', async () => {
  const workplace = await createWorkplace();
  workplace.dispatch();
  const { handler, started, stopped } = waitingHandler();
  const quick: TestHandler = { run: () => Promise.resolve(null) };
  await workplace.work({ wait: handler, quick }, { lookForCancelsMs: 50, concurrency: 1 });
  const jobId = await workplace.submit('wait');
  await started;
  await workplace.send(jobId, cancel);
  await workplace.send(jobId, { type: 'FinishCancel', round: 1 });
  await stopped;
  const next = await workplace.submit('quick');
  await ends(workplace, next, 'JobCompleted');
  expect((await workplace.typesOf(jobId)).filter((type) => type === 'JobCancelled')).toHaveLength(1);
});

test('a cancel that its worker did not live to obey is finished without any worker', async () => {
  const workplace = await createWorkplace();
  const jobId = randomUUID();
  const history = [
    events.created({ jobId }),
    events.started(1, { workerId: 'dead' }),
    { type: 'JobCancelRequested', data: { round: 1, executionId: execution(1) } },
  ] as const;
  await workplace.store.append(
    jobStream(jobId),
    history.map((event) => stored(event)),
    { expected: 'no_stream' },
  );
  workplace.dispatch();
  await ends(workplace, jobId, 'JobCancelled');
  const [, started, requested, cancelled] = await workplace.store.read(jobStream(jobId));
  expect(cancelled!.metadata).toMatchObject({
    actor: { kind: 'system' },
    correlationId: started!.metadata.correlationId,
    causationId: requested!.id,
  });
  await eventually(async () => (await workplace.database.query('SELECT FROM open_work')).rowCount === 0);
});
