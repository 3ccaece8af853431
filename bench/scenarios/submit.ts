import { resources, submit } from '../lib/jobs.ts';
import type { Measured, Scenario } from '../lib/scenario.ts';
import { asyncly } from '../subjects/asyncly.ts';
import { baseline } from '../subjects/baseline.ts';
import { appendsNothing } from '../subjects/floors.ts';
import type { Subject } from '../subjects/subject.ts';

const submitting = (subject: Subject): Measured => ({
  name: subject.name,
  async measure(environment, { quick }) {
    const running = await subject.start(environment);
    try {
      const token = await running.createUser();
      await submit(running, token, { seconds: quick ? 1 : 3 });
      const before = resources(running);
      const { perSecond, p50, p99, ok } = await submit(running, token, { seconds: quick ? 2 : 10 });
      const { cpuSeconds, peakMb } = resources(running);
      return { perSecond, p50, p99, cpuMsPerJob: ((cpuSeconds - before.cpuSeconds) / ok) * 1_000, peakMb };
    } finally {
      await running.stop();
    }
  },
});

export const submitScenario: Scenario = {
  name: 'submit',
  title: 'POST /api/jobs over 50 connections, no workers (latencies in ms)',
  measured: [asyncly, baseline, appendsNothing].map(submitting),
  targets: [
    {
      text: 'asyncly / baseline',
      value: (of) => of('asyncly', 'perSecond') / of('baseline', 'perSecond'),
      atLeast: 1.7,
    },
    {
      text: 'asyncly p99 / baseline p99',
      value: (of) => of('asyncly', 'p99') / of('baseline', 'p99'),
      atMost: 0.6,
    },
    {
      text: 'asyncly / appends nothing',
      value: (of) => of('asyncly', 'perSecond') / of('appends nothing', 'perSecond'),
      atLeast: 0.7,
    },
  ],
};
