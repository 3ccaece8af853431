import { setTimeout as delay } from 'node:timers/promises';
import type { Environment } from '../lib/environment.ts';
import { historyOf } from '../lib/histories.ts';
import { submit, untilDone } from '../lib/jobs.ts';
import type { Figures, Measured, Scale, Scenario } from '../lib/scenario.ts';
import { asyncly, asynclyByRole, asynclyEmbedded, BY_ROLE, startAsyncly } from '../subjects/asyncly.ts';
import { baseline } from '../subjects/baseline.ts';
import type { Running, Subject } from '../subjects/subject.ts';

/** How long it is left alone before it is looked at, in milliseconds. */
const QUIET_MS = { quick: 1_000, usual: 10_000 };

/** Resident memory of each process, in MB. */
async function resident(running: Running, { quick }: Scale): Promise<Figures> {
  await delay(quick ? QUIET_MS.quick : QUIET_MS.usual);
  const sizes = running.processes().map((each) => [each.name, each.usage().residentMb] as const);
  const total = sizes.reduce((sum, [, size]) => sum + size, 0);
  return { ...Object.fromEntries(sizes), total };
}

const afterJobs = (subject: Subject): Measured => ({
  name: `${subject.name}, after 50,000 jobs`,
  async measure(environment, scale) {
    const running = await subject.start(environment);
    try {
      await running.startWorker(50);
      const user = await running.createUser();
      const total = scale.quick ? 500 : 50_000;
      await Promise.all([submit(running, user, { requests: total }), untilDone(running, user, total)]);
      return await resident(running, scale);
    } finally {
      await running.stop();
    }
  },
});

const idle: Measured = {
  name: `${asynclyByRole.name}, idle over 1,000,000 events`,
  async measure(environment: Environment, scale) {
    const history = await historyOf(environment, scale.quick ? 10_000 : 1_000_000);
    const running = await startAsyncly(environment, {
      database: await environment.createDatabase(history),
      processes: BY_ROLE,
    });
    try {
      await running.startWorker(50);
      return await resident(running, scale);
    } finally {
      await running.stop();
    }
  },
};

export const memoryScenario: Scenario = {
  name: 'memory',
  title: 'Resident memory of each process, left alone for 10 seconds (MB)',
  measured: [...[asyncly, asynclyByRole, baseline, asynclyEmbedded].map(afterJobs), idle],
  targets: [],
};
