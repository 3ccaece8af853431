import { bearer, submit, untilDone } from '../lib/jobs.ts';
import { load } from '../lib/load.ts';
import { ratio } from '../lib/scenario.ts';
import type { Measured, Scenario } from '../lib/scenario.ts';
import { asyncly } from '../subjects/asyncly.ts';
import { baseline } from '../subjects/baseline.ts';
import type { Running, Subject, User } from '../subjects/subject.ts';

/** Reads one page of ten over and over. */
export async function readPage(
  running: Running,
  user: User,
  page: number,
  seconds: number,
): Promise<{ perSecond: number; p50: number }> {
  const { perSecond, p50 } = await load({
    url: `${running.base}/api/jobs?page=${page}&limit=10`,
    headers: bearer(user),
    connections: 10,
    amount: { seconds },
  });
  return { perSecond, p50 };
}

/** 5,000 jobs of one user, ten a page. */
const listing = (subject: Subject): Measured => ({
  name: subject.name,
  async measure(environment, { quick }) {
    const running = await subject.start(environment);
    try {
      const user = await running.createUser();
      const total = quick ? 2_600 : 5_000;
      await submit(running, user, { requests: total });
      // The read model has them all when its last page has.
      await running.startWorker(50);
      await untilDone(running, user, total);
      const first = await readPage(running, user, 1, quick ? 1 : 8);
      const deep = await readPage(running, user, 250, quick ? 1 : 8);
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
    ratio('asyncly', 'baseline', 'page1PerSecond', { atLeast: 1.5 }),
    ratio('asyncly', 'baseline', 'page250PerSecond'),
    {
      text: 'asyncly, page 1 / page 250',
      value: (of) => of('asyncly', 'page1PerSecond') / of('asyncly', 'page250PerSecond'),
      atMost: 1.5,
    },
  ],
};
