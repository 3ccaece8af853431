import { meter, submit } from '../lib/jobs.ts';
import { ratio } from '../lib/scenario.ts';
import type { Measured, Scenario } from '../lib/scenario.ts';
import { asyncly, asynclyByRole } from '../subjects/asyncly.ts';
import { baseline } from '../subjects/baseline.ts';
import { appendsNothing } from '../subjects/floors.ts';
import type { Subject } from '../subjects/subject.ts';

const submitting = (subject: Subject): Measured => ({
  name: subject.name,
  async measure(environment, { quick }) {
    const running = await subject.start(environment);
    try {
      const user = await running.createUser();
      await submit(running, user, { seconds: quick ? 1 : 5 });
      const costs = meter(environment, running);
      const { perSecond, p50, p99, ok } = await submit(running, user, { seconds: quick ? 2 : 10 });
      return { perSecond, p50, p99, ...costs(ok) };
    } finally {
      await running.stop();
    }
  },
});

export const submitScenario: Scenario = {
  name: 'submit',
  title: 'POST /api/jobs over 50 connections, no workers (latencies and CPU a job in ms)',
  measured: [asyncly, asynclyByRole, baseline, appendsNothing].map(submitting),
  targets: [
    ratio('asyncly', 'baseline', 'perSecond', { atLeast: 1.7 }),
    ratio('asyncly', 'baseline', 'p99', { atMost: 0.6 }),
    ratio('asyncly', 'appends nothing', 'perSecond', { atLeast: 0.7 }),
  ],
};
