import { followAll } from '../lib/live.ts';
import { submitSteadily } from '../lib/open-loop.ts';
import { ratio } from '../lib/scenario.ts';
import type { Measured, Scenario } from '../lib/scenario.ts';
import { percentile } from '../lib/stats.ts';
import { asyncly, asynclyByRole } from '../subjects/asyncly.ts';
import { baseline } from '../subjects/baseline.ts';
import type { Running, Subject } from '../subjects/subject.ts';
import { eventually } from '../../test/support/waiting.ts';

/** How long the last message may take. */
const LAST_MS = 10_000;

/** @returns milliseconds from when each job was to be submitted to its `job:done`, and how many were never told of */
async function openLoop(
  running: Running,
  perSecond: number,
  seconds: number,
): Promise<{ latencies: number[]; missed: number }> {
  const user = await running.createUser();
  const doneAt = new Map<string, number>();
  const follower = await followAll(running.base, user.token, ({ type, jobId }) => {
    if (type === 'job:done' && jobId !== undefined) doneAt.set(jobId, performance.now());
  });
  const total = perSecond * seconds;
  const submitted = await submitSteadily(running, [user], perSecond, total);
  // What has not come by then is counted as missed.
  await eventually(() => doneAt.size === total, LAST_MS).catch(() => undefined);
  await follower.close();
  const latencies = submitted.flatMap(({ id, due }) => {
    const done = doneAt.get(id);
    return done === undefined ? [] : [done - due];
  });
  return { latencies, missed: total - latencies.length };
}

const pacing = (subject: Subject, perSecond: number): Measured => ({
  name: subject.name,
  async measure(environment, { quick }) {
    const running = await subject.start(environment);
    try {
      await running.startWorker(10);
      // What is compiled once is not what a job waits for.
      await openLoop(running, perSecond, quick ? 1 : 20);
      const { latencies, missed } = await openLoop(running, perSecond, quick ? 1 : 15);
      return { p50: percentile(latencies, 50), p99: percentile(latencies, 99), missed };
    } finally {
      await running.stop();
    }
  },
});

const latencyScenario = (perSecond: number): Scenario => ({
  name: `latency-${perSecond}`,
  title: `${perSecond} jobs a second at fixed times: from POST to job:done on a WebSocket (ms)`,
  measured: [asyncly, asynclyByRole, baseline].map((subject) => pacing(subject, perSecond)),
  targets: [
    ratio('asyncly', 'baseline', 'p50', { atMost: 0.7 }),
    ratio('asyncly', 'baseline', 'p99', { atMost: 1 }),
    { text: 'ends that asyncly missed', value: (of) => of('asyncly', 'missed'), atMost: 0 },
  ],
});

export const latencyScenarios: readonly Scenario[] = [latencyScenario(20), latencyScenario(200)];
