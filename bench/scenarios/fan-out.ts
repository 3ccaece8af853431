import { z } from 'zod';
import type { FollowersQuestion } from '../clients/followers.ts';
import { meter } from '../lib/jobs.ts';
import { submitSteadily } from '../lib/open-loop.ts';
import { startClient } from '../lib/processes.ts';
import type { Client } from '../lib/processes.ts';
import { ratio } from '../lib/scenario.ts';
import type { Measured, Scenario } from '../lib/scenario.ts';
import { percentile } from '../lib/stats.ts';
import { asyncly } from '../subjects/asyncly.ts';
import { baseline } from '../subjects/baseline.ts';
import type { Subject, User } from '../subjects/subject.ts';
import { eventually } from '../../test/support/waiting.ts';

/** As many as the service lets one user have. */
const SOCKETS_PER_USER = 20;
/** Each job is told of twice at least: that it is being processed, and that it is done. */
const JOBS_PER_SECOND = 50;
const LAST_MS = 15_000;

const following = z.object({ following: z.number() });
const report = z.object({ latencies: z.array(z.number()) });

const fanningOut = (subject: Subject): Measured => ({
  name: subject.name,
  async measure(environment, { quick }) {
    const running = await subject.start(environment);
    const client = startClient('bench/clients/followers.js');
    const ask = (question: FollowersQuestion): Promise<unknown> => answerOf(client, question);
    try {
      await running.startWorker(10);
      const users: User[] = [];
      for (let n = 0; n < (quick ? 10 : 100); n++) users.push(await running.createUser());
      const sockets = users.length * SOCKETS_PER_USER;
      const tokens = users.map(({ token }) => token);
      following.parse(await ask({ ask: 'follow', base: running.base, tokens, each: SOCKETS_PER_USER }));
      const latencies: number[] = [];
      const told = async (jobs: number): Promise<void> => {
        await submitSteadily(running, users, JOBS_PER_SECOND, jobs);
        const expected = latencies.length + jobs * SOCKETS_PER_USER;
        // What has not come by then is counted as missed.
        await eventually(async () => {
          latencies.push(...report.parse(await ask({ ask: 'report' })).latencies);
          return latencies.length >= expected;
        }, LAST_MS).catch(() => undefined);
      };
      await told(quick ? 50 : 150);
      latencies.length = 0;
      const jobs = JOBS_PER_SECOND * (quick ? 2 : 20);
      const costs = meter(environment, running);
      await told(jobs);
      return {
        sockets,
        p50: percentile(latencies, 50),
        p99: percentile(latencies, 99),
        missed: jobs * SOCKETS_PER_USER - latencies.length,
        ...costs(jobs),
      };
    } finally {
      await client.stop();
      await running.stop();
    }
  },
});

async function answerOf(client: Client, question: FollowersQuestion): Promise<unknown> {
  const answer = new Promise((resolve) => client.onceMessage(resolve));
  client.send(question);
  return Promise.race([answer, client.failed]);
}

export const fanOutScenario: Scenario = {
  name: 'fan-out',
  title:
    '2,000 WebSockets, 20 a user; 100 events a second, each to 20 of them: from the end of a job to job:done (ms)',
  measured: [asyncly, baseline].map(fanningOut),
  targets: [
    ratio('asyncly', 'baseline', 'p99'),
    { text: 'deliveries that asyncly missed', value: (of) => of('asyncly', 'missed'), atMost: 0 },
  ],
};
