import { historyOf } from '../lib/histories.ts';
import { rateOf, submit, untilDone } from '../lib/jobs.ts';
import type { Measured, Scenario, Target } from '../lib/scenario.ts';
import { startAsyncly } from '../subjects/asyncly.ts';
import { readPage } from './list.ts';

const FACTORS = [1, 10, 100] as const;
const nameOf = (factor: number): string => `${(10_000 * factor).toLocaleString('en')} events`;

/** The service on a store that has so many events already. */
const grown = (factor: number): Measured => ({
  name: nameOf(factor),
  async measure(environment, { quick }) {
    const history = await historyOf(environment, (quick ? 500 : 10_000) * factor);
    const running = await startAsyncly(environment, { database: await environment.createDatabase(history) });
    try {
      const user = await running.createUser();
      await submit(running, user, { requests: quick ? 100 : 1_000 });
      // As many everywhere, for they make the store grow as well.
      const total = quick ? 400 : 4_000;
      const { perSecond, p99 } = await submit(running, user, { requests: total });
      await running.startWorker(50);
      const drained = rateOf(await untilDone(running, user, total + (quick ? 100 : 1_000)));
      const first = await readPage(running, user, 1, quick ? 1 : 6);
      const deep = await readPage(running, user, quick ? 40 : 250, quick ? 1 : 6);
      return {
        submitPerSecond: perSecond,
        submitP99: p99,
        drainPerSecond: drained,
        page1PerSecond: first.perSecond,
        page250PerSecond: deep.perSecond,
      };
    } finally {
      await running.stop();
    }
  },
});

const keptUp = (figure: string, factor: number): Target => ({
  text: `at ${factor} times the events, ${figure}`,
  value: (of) => of(nameOf(factor), figure) / of(nameOf(1), figure),
  atLeast: 0.85,
});

export const growthScenario: Scenario = {
  name: 'growth',
  title:
    'Submit, drain and list on a store that has 10,000, 100,000 and 1,000,000 events already; submissions over 50 connections',
  measured: FACTORS.map(grown),
  targets: [10, 100].flatMap((factor) =>
    ['submitPerSecond', 'drainPerSecond', 'page1PerSecond', 'page250PerSecond'].map((figure) =>
      keptUp(figure, factor),
    ),
  ),
};
