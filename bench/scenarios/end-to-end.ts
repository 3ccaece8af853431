import { meter, submit, untilDone } from '../lib/jobs.ts';
import { ratio } from '../lib/scenario.ts';
import type { Measured, Scenario } from '../lib/scenario.ts';
import { backlogOf, queueEndToEnd } from '../peers/queue-measures.ts';
import { asyncly, asynclyByRole, asynclyEmbedded } from '../subjects/asyncly.ts';
import { baseline } from '../subjects/baseline.ts';
import type { Subject } from '../subjects/subject.ts';
import { embeddedTargets } from './drain.ts';

const CONCURRENCY = 50;

const wholeWay = (subject: Subject): Measured => ({
  name: subject.name,
  async measure(environment, scale) {
    const running = await subject.start(environment);
    try {
      await running.startWorker(CONCURRENCY);
      const user = await running.createUser();
      // The worker is up when it has done some.
      const warm = scale.quick ? 50 : 2_000;
      await submit(running, user, { requests: warm });
      await untilDone(running, user, warm);
      const total = backlogOf(scale);
      const costs = meter(environment, running);
      const [{ startedAt }, seen] = await Promise.all([
        submit(running, user, { requests: total }),
        untilDone(running, user, warm + total),
      ]);
      const took = performance.timeOrigin + seen.at(-1)!.at - startedAt;
      return { perSecond: (total / took) * 1_000, ...costs(total) };
    } finally {
      await running.stop();
    }
  },
});

export const endToEndScenario: Scenario = {
  name: 'end-to-end',
  title:
    '5,000 jobs at full rate, 50 at a time, with a worker (concurrency 50), until the last is DONE; the queues without HTTP',
  measured: [
    ...[asyncly, asynclyByRole, baseline, asynclyEmbedded].map(wholeWay),
    queueEndToEnd('graphileWorker', CONCURRENCY),
    queueEndToEnd('pgBoss', CONCURRENCY),
  ],
  targets: [ratio('asyncly', 'baseline', 'perSecond', { atLeast: 2.5 }), ...embeddedTargets],
};
