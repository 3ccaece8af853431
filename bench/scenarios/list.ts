import { bearer, submit, untilDone } from '../lib/jobs.ts';
import { load } from '../lib/load.ts';
import type { Measured, Scenario } from '../lib/scenario.ts';
import { asyncly } from '../subjects/asyncly.ts';
import { baseline } from '../subjects/baseline.ts';
import type { Subject } from '../subjects/subject.ts';

/** 5,000 jobs of one user, ten a page. */
const listing = (subject: Subject): Measured => ({
  name: subject.name,
  async measure(environment, { quick }) {
    const running = await subject.start(environment);
    try {
      const token = await running.createUser();
      const total = quick ? 2_600 : 5_000;
      await submit(running, token, { requests: total });
      // The read model has them all when its last page has.
      await running.startWorker(50);
      await untilDone(running.databaseUrl, total);
      const page = async (number: number) => {
        const { perSecond, p50, failed } = await load({
          url: `${running.base}/api/jobs?page=${number}&limit=10`,
          headers: bearer(token),
          connections: 10,
          seconds: quick ? 2 : 8,
        });
        if (failed > 0) throw new Error(`${failed} reads failed`);
        return { perSecond, p50 };
      };
      const first = await page(1);
      const deep = await page(250);
      return {
        page1PerSecond: first.perSecond,
        page250PerSecond: deep.perSecond,
        page1P50: first.p50,
        page250P50: deep.p50,
      };
    } finally {
      await running.stop();
    }
  },
});

export const listScenario: Scenario = {
  name: 'list',
  title: 'GET /api/jobs?page=n&limit=10 of a user with 5,000 jobs, over 10 connections',
  measured: [asyncly, baseline].map(listing),
  targets: [
    {
      text: 'asyncly / baseline, page 1',
      value: (of) => of('asyncly', 'page1PerSecond') / of('baseline', 'page1PerSecond'),
      atLeast: 1.5,
    },
    {
      text: 'page 1 / page 250',
      value: (of) => of('asyncly', 'page1PerSecond') / of('asyncly', 'page250PerSecond'),
      atMost: 1.5,
    },
  ],
};
