import { bearer, jobIds, submit, untilDone } from '../lib/jobs.ts';
import { load } from '../lib/load.ts';
import { submitOne } from '../lib/open-loop.ts';
import { ratio } from '../lib/scenario.ts';
import type { Measured, Scenario } from '../lib/scenario.ts';
import { asyncly } from '../subjects/asyncly.ts';
import { baseline } from '../subjects/baseline.ts';
import { answersConstantly } from '../subjects/floors.ts';
import type { Subject } from '../subjects/subject.ts';

/** One job that is DONE, read again and again. */
const readingOne = (subject: Subject, hasJobs: boolean): Measured => ({
  name: subject.name,
  async measure(environment, { quick }) {
    const running = await subject.start(environment);
    try {
      const user = await running.createUser();
      let id = 'any';
      if (hasJobs) {
        await running.startWorker(10);
        id = await submitOne(running, user);
        await untilDone(running, user, 1);
      }
      const get = (seconds: number) =>
        load({
          url: `${running.base}/api/jobs/${id}`,
          headers: bearer(user),
          connections: 50,
          amount: { seconds },
        });
      await get(quick ? 1 : 3);
      const { perSecond, p50, p99 } = await get(quick ? 2 : 10);
      return { perSecond, p50, p99 };
    } finally {
      await running.stop();
    }
  },
});

/** Many jobs that are DONE, each read once: creating and running a job puts it in no cache. */
const readingEach = (subject: Subject): Measured => ({
  name: subject.name,
  async measure(environment, { quick }) {
    const running = await subject.start(environment);
    try {
      const user = await running.createUser();
      const total = quick ? 2_000 : 12_000;
      await submit(running, user, { requests: total });
      await running.startWorker(50);
      await untilDone(running, user, total);
      const paths = (await jobIds(running, user)).map((id) => `/api/jobs/${id}`);
      const get = (some: readonly string[]) =>
        load({ url: running.base, headers: bearer(user), connections: 50, amount: { paths: some } });
      const warming = Math.floor(total / 4);
      await get(paths.slice(0, warming));
      const { perSecond, p50, p99 } = await get(paths.slice(warming));
      return { perSecond, p50, p99 };
    } finally {
      await running.stop();
    }
  },
});

export const getScenarios: readonly Scenario[] = [
  {
    name: 'get-cached',
    title: 'GET /api/jobs/:id of one job that is in the cache, over 50 connections (latencies in ms)',
    measured: [readingOne(asyncly, true), readingOne(baseline, true), readingOne(answersConstantly, false)],
    targets: [
      ratio('asyncly', 'answers constantly', 'perSecond', { atLeast: 0.9 }),
      ratio('asyncly', 'baseline'),
    ],
  },
  {
    name: 'get-uncached',
    title: 'GET /api/jobs/:id of 9,000 jobs, each once, over 50 connections (latencies in ms)',
    measured: [readingEach(asyncly), readingEach(baseline)],
    targets: [ratio('asyncly', 'baseline')],
  },
];
