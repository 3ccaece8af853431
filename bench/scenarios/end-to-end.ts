import { resources, submit, untilDone } from '../lib/jobs.ts';
import type { Measured, Scenario } from '../lib/scenario.ts';
import { asyncly, asynclyEmbedded } from '../subjects/asyncly.ts';
import { baseline } from '../subjects/baseline.ts';
import type { Subject } from '../subjects/subject.ts';

const CONCURRENCY = 50;

const wholeWay = (subject: Subject): Measured => ({
  name: subject.name,
  async measure(environment, { quick }) {
    const running = await subject.start(environment);
    try {
      await running.startWorker(CONCURRENCY);
      const token = await running.createUser();
      // The worker is up when it has done some.
      const warm = quick ? 50 : 500;
      await submit(running, token, { requests: warm });
      await untilDone(running.databaseUrl, warm);
      const total = quick ? 500 : 5_000;
      const before = resources(running);
      const began = performance.now();
      const [, seen] = await Promise.all([
        submit(running, token, { requests: total }),
        untilDone(running.databaseUrl, warm + total),
      ]);
      const { cpuSeconds, peakMb } = resources(running);
      return {
        perSecond: (total / (seen.at(-1)!.at - began)) * 1_000,
        cpuMsPerJob: ((cpuSeconds - before.cpuSeconds) / total) * 1_000,
        peakMb,
      };
    } finally {
      await running.stop();
    }
  },
});

export const endToEndScenario: Scenario = {
  name: 'end-to-end',
  title: '5,000 jobs at full rate over 50 connections with a worker (concurrency 50), until the last is DONE',
  measured: [asyncly, baseline, asynclyEmbedded].map(wholeWay),
  targets: [
    {
      text: 'asyncly / baseline',
      value: (of) => of('asyncly', 'perSecond') / of('baseline', 'perSecond'),
      atLeast: 2.5,
    },
  ],
};
