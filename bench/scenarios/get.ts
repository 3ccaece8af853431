import { z } from 'zod';
import { bearer, submission, untilDone } from '../lib/jobs.ts';
import { load } from '../lib/load.ts';
import type { Measured, Scenario } from '../lib/scenario.ts';
import { asyncly } from '../subjects/asyncly.ts';
import { baseline } from '../subjects/baseline.ts';
import { answersConstantly } from '../subjects/floors.ts';
import type { Subject } from '../subjects/subject.ts';

const created = z.object({ data: z.object({ id: z.string() }) });

/** One job that is DONE, read again and again. */
const reading = (subject: Subject, hasJobs: boolean): Measured => ({
  name: subject.name,
  async measure(environment, { quick }) {
    const running = await subject.start(environment);
    try {
      const token = await running.createUser();
      let id = 'any';
      if (hasJobs) {
        await running.startWorker(10);
        const response = await fetch(`${running.base}/api/jobs`, {
          method: 'POST',
          headers: { ...bearer(token), 'Content-Type': 'application/json' },
          body: JSON.stringify(submission),
        });
        ({ id } = created.parse(await response.json()).data);
        await untilDone(running.databaseUrl, 1);
      }
      const get = (seconds: number) =>
        load({
          url: `${running.base}/api/jobs/${id}`,
          headers: bearer(token),
          connections: 50,
          seconds,
        });
      await get(quick ? 1 : 3);
      const { perSecond, p50, p99, failed } = await get(quick ? 2 : 10);
      if (failed > 0) throw new Error(`${failed} reads failed`);
      return { perSecond, p50, p99 };
    } finally {
      await running.stop();
    }
  },
});

export const getScenario: Scenario = {
  name: 'get',
  title: 'GET /api/jobs/:id of one job that is in the cache, over 50 connections (latencies in ms)',
  measured: [reading(asyncly, true), reading(baseline, true), reading(answersConstantly, false)],
  targets: [
    {
      text: 'asyncly / answers constantly',
      value: (of) => of('asyncly', 'perSecond') / of('answers constantly', 'perSecond'),
      atLeast: 0.9,
    },
  ],
};
