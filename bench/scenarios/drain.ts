import { rateOf, resources, submit, untilDone } from '../lib/jobs.ts';
import type { Measured, Scenario } from '../lib/scenario.ts';
import { backlogOf, graphileWorker, pgBoss, rawBullmq } from '../peers/queues.ts';
import { asyncly, asynclyEmbedded } from '../subjects/asyncly.ts';
import { baseline } from '../subjects/baseline.ts';
import type { Subject } from '../subjects/subject.ts';

const draining = (subject: Subject, concurrency: number): Measured => ({
  name: subject.name,
  async measure(environment, scale) {
    const running = await subject.start(environment);
    try {
      const total = backlogOf(scale);
      await submit(running, await running.createUser(), { requests: total });
      const before = resources(running);
      await running.startWorker(concurrency);
      const perSecond = rateOf(await untilDone(running.databaseUrl, total));
      const { cpuSeconds, peakMb } = resources(running);
      return { perSecond, cpuMsPerJob: ((cpuSeconds - before.cpuSeconds) / total) * 1_000, peakMb };
    } finally {
      await running.stop();
    }
  },
});

const drainScenario = (concurrency: number, targets: Scenario['targets']): Scenario => ({
  name: `drain-${concurrency}`,
  title: `A backlog of 5,000 jobs that do nothing, concurrency ${concurrency}`,
  measured: [
    draining(asyncly, concurrency),
    draining(baseline, concurrency),
    rawBullmq(concurrency),
    draining(asynclyEmbedded, concurrency),
    graphileWorker(concurrency),
    pgBoss(concurrency),
  ],
  targets,
});

export const drainScenarios: readonly Scenario[] = [
  drainScenario(5, []),
  drainScenario(10, [
    {
      text: 'asyncly (no Redis) / pg-boss',
      value: (of) => of('asyncly (no Redis)', 'perSecond') / of('pg-boss', 'perSecond'),
      atLeast: 1,
    },
    {
      text: 'asyncly (no Redis) / graphile-worker',
      value: (of) => of('asyncly (no Redis)', 'perSecond') / of('graphile-worker', 'perSecond'),
      atLeast: 0.3,
    },
  ]),
  drainScenario(50, [
    {
      text: 'asyncly / baseline',
      value: (of) => of('asyncly', 'perSecond') / of('baseline', 'perSecond'),
      atLeast: 2.5,
    },
    {
      text: 'asyncly / BullMQ on Redis',
      value: (of) => of('asyncly', 'perSecond') / of('BullMQ on Redis', 'perSecond'),
      atLeast: 0.04,
    },
  ]),
];
