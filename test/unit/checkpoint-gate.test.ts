import { expect, onTestFinished, test } from 'vitest';
import type { Bus } from '../../src/bus.ts';
import { createLocalBus } from '../../src/bus.ts';
import { UnavailableError } from '../../src/errors.ts';
import { createCheckpointGate } from '../../src/http/live/checkpoint-gate.ts';
import type { Checkpoint } from '../../src/queries/live.ts';
import { silentLogger } from '../support/database.ts';

const JOB = { stream: 'job-1', position: 5n };
const LOG = { stream: 'jobLog-1', position: 5n };

function setup(checkpoints: Record<string, Checkpoint> = {}) {
  const local = createLocalBus(silentLogger);
  const bus: Bus = {
    publish: (channel, message) => local.deliver(channel, message),
    subscribe: local.subscribe,
    close: () => Promise.resolve(),
  };
  let looks = 0;
  let away = false;
  const gate = createCheckpointGate({
    bus,
    logger: silentLogger,
    queries: {
      checkpoints: () => {
        looks++;
        if (away) return Promise.reject(new UnavailableError('postgres', 'away'));
        return Promise.resolve(new Map(Object.entries(checkpoints)));
      },
      jobRevision: () => Promise.resolve(null),
      owners: () => Promise.resolve(new Map()),
    },
  });
  onTestFinished(() => gate.close());
  return { gate, bus, checkpoints, looks: () => looks, setAway: (is: boolean) => (away = is) };
}

const never = new AbortController().signal;

test('an event passes when the read models have it, told by the bus without a look', async () => {
  const { gate, bus, looks } = setup();
  expect(gate.passes(JOB)).toBe(false);
  const waiting = Promise.all([gate.wait(JOB, never), gate.wait(LOG, never)]);
  bus.publish('checkpoint', { projection: 'jobs', position: '5' });
  bus.publish('checkpoint', { projection: 'job_logs', position: '4' });
  // A job's own event is a line of its log, too.
  expect([gate.passes(JOB), gate.passes(LOG)]).toEqual([false, false]);
  bus.publish('checkpoint', { projection: 'job_logs', position: '6' });
  bus.publish('checkpoint', { projection: 'job_logs', position: '3' });
  await waiting;
  expect([gate.passes(JOB), gate.passes(LOG)]).toEqual([true, true]);
  expect(looks()).toBe(0);
});

test('without the bus it looks for itself, also after Postgres was away', async () => {
  const { gate, checkpoints, setAway, looks } = setup();
  setAway(true);
  const waiting = gate.wait(JOB, never);
  await expect.poll(looks).toBeGreaterThan(0);
  setAway(false);
  checkpoints['jobs'] = { position: 5n, stopped: false };
  checkpoints['job_logs'] = { position: 5n, stopped: false };
  await waiting;
  expect(gate.passes(JOB)).toBe(true);
});

test('it waits for no log read model that has stopped, but for the jobs in any case', async () => {
  const { gate, bus } = setup({
    jobs: { position: 4n, stopped: true },
    job_logs: { position: 2n, stopped: true },
  });
  expect(await gate.passed()).toBe(4n);
  expect([gate.passes(JOB), gate.passes(LOG)]).toEqual([false, true]);
  bus.publish('checkpoint', { projection: 'job_logs', position: '3' });
  await expect.poll(() => gate.passes(LOG)).toBe(false);
});

test('a log read model that has stopped behind what it was said to have passed is not waited for either', async () => {
  const { gate, bus } = setup({
    jobs: { position: 5n, stopped: false },
    job_logs: { position: 2n, stopped: true },
  });
  bus.publish('checkpoint', { projection: 'job_logs', position: '3' });
  await Promise.all([gate.wait(JOB, never), gate.wait(LOG, never)]);
  expect([gate.passes(JOB), gate.passes(LOG)]).toEqual([true, true]);
});

test('it begins where both read models are, and ends a wait on the signal', async () => {
  const { gate } = setup({
    jobs: { position: 9n, stopped: false },
    job_logs: { position: 2n, stopped: false },
  });
  expect(await gate.passed()).toBe(2n);
  await gate.wait(LOG, AbortSignal.abort());
  expect(gate.passes(LOG)).toBe(false);
});
