import { meter, rateOf, submit, untilDone } from '../lib/jobs.ts';
import { ratio } from '../lib/scenario.ts';
import type { Measured, Scenario } from '../lib/scenario.ts';
import { backlogOf, drainingQueue } from '../peers/queue-measures.ts';
import { asyncly, asynclyEmbedded } from '../subjects/asyncly.ts';
import { baseline } from '../subjects/baseline.ts';
import type { Subject } from '../subjects/subject.ts';

const draining = (subject: Subject, concurrency: number): Measured => ({
  name: subject.name,
  async measure(environment, scale) {
    const running = await subject.start(environment);
    try {
      const total = backlogOf(scale);
      const user = await running.createUser();
      await submit(running, user, { requests: total });
      const costs = meter(environment, running);
      await running.startWorker(concurrency);
      const perSecond = rateOf(await untilDone(running, user, total));
      return { perSecond, ...costs(total) };
    } finally {
      await running.stop();
    }
  },
});

const drainScenario = (
  concurrency: number,
  measured: (concurrency: number) => readonly Measured[],
  targets: Scenario['targets'],
): Scenario => ({
  name: `drain-${concurrency}`,
  title: `A backlog of 5,000 jobs that do nothing, concurrency ${concurrency} (CPU a job in ms)`,
  measured: measured(concurrency),
  targets,
});

const services = (concurrency: number): Measured[] => [
  draining(asyncly, concurrency),
  draining(baseline, concurrency),
  drainingQueue('bullmq', concurrency),
];
const onPostgres = (concurrency: number): Measured[] => [
  draining(asynclyEmbedded, concurrency),
  drainingQueue('bullmqOnPostgres', concurrency),
  drainingQueue('graphileWorker', concurrency),
  drainingQueue('pgBoss', concurrency),
];

/** What is promised of the service without Redis beside queues that live in Postgres. */
export const embeddedTargets: Scenario['targets'] = [
  ratio('asyncly (no Redis)', 'pg-boss', 'perSecond', { atLeast: 1 }),
  ratio('asyncly (no Redis)', 'graphile-worker', 'perSecond', { atLeast: 0.3 }),
];

export const drainScenarios: readonly Scenario[] = [
  drainScenario(5, services, [ratio('asyncly', 'baseline'), ratio('asyncly', 'BullMQ on Redis')]),
  drainScenario(10, onPostgres, embeddedTargets),
  drainScenario(50, (concurrency) => [...services(concurrency), ...onPostgres(concurrency)], [
    ratio('asyncly', 'baseline', 'perSecond', { atLeast: 2.5 }),
    ratio('asyncly', 'BullMQ on Redis', 'perSecond', { atLeast: 0.04 }),
    ...embeddedTargets,
  ]),
];
