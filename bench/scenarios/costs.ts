import type { Environment } from '../lib/environment.ts';
import { submit, untilDone } from '../lib/jobs.ts';
import type { Measured, Scenario } from '../lib/scenario.ts';
import { asyncly, asynclyByRole, asynclyEmbedded } from '../subjects/asyncly.ts';
import { baseline } from '../subjects/baseline.ts';
import type { Running, Subject } from '../subjects/subject.ts';

/** CPU seconds of every process up to now, by its name. */
const secondsOf = (environment: Environment, running: Running): Record<string, number> => ({
  ...Object.fromEntries(running.processes().map((each) => [each.name, each.usage().cpuSeconds])),
  ...environment.secondsOfServers(),
});

const costs = (subject: Subject, way: 'submitted' | 'done'): Measured => ({
  name: `${subject.name}, until ${way}`,
  async measure(environment, { quick }) {
    const running = await subject.start(environment);
    const jobs = quick ? 200 : 10_000;
    // What is loaded and compiled once is not what a job costs.
    const warm = quick ? 50 : 1_000;
    try {
      const user = await running.createUser();
      if (way === 'done') await running.startWorker(50);
      await submit(running, user, { requests: warm });
      if (way === 'done') await untilDone(running, user, warm);
      const before = secondsOf(environment, running);
      await Promise.all([
        submit(running, user, { requests: jobs }),
        way === 'done' && untilDone(running, user, warm + jobs),
      ]);
      const after = Object.entries(secondsOf(environment, running));
      return Object.fromEntries(
        after.map(([name, seconds]) => [name, ((seconds - (before[name] ?? 0)) / jobs) * 1_000]),
      );
    } finally {
      await running.stop();
    }
  },
});

export const costsScenario: Scenario = {
  name: 'costs',
  title:
    'Processor time of each process for a job (ms), submitted over 50 connections: without a worker, and with one until all are DONE',
  measured: [asyncly, asynclyByRole, baseline, asynclyEmbedded].flatMap((subject) => [
    costs(subject, 'submitted'),
    costs(subject, 'done'),
  ]),
  targets: [],
};
