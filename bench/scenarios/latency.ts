import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { bearer, submission } from '../lib/jobs.ts';
import { followAll } from '../lib/live.ts';
import type { Measured, Scenario } from '../lib/scenario.ts';
import { percentile } from '../lib/stats.ts';
import { asyncly } from '../subjects/asyncly.ts';
import { baseline } from '../subjects/baseline.ts';
import type { Running, Subject } from '../subjects/subject.ts';

const created = z.object({ data: z.object({ id: z.string() }) });
/** How long the last message may take. */
const LAST_MS = 10_000;

/**
 * Submits at fixed times, whatever is answered meanwhile.
 * @returns milliseconds from when each job was to be submitted to its `job:done`, and how many were never told of
 */
async function openLoop(
  running: Running,
  perSecond: number,
  seconds: number,
): Promise<{ latencies: number[]; missed: number }> {
  const token = await running.createUser();
  const doneAt = new Map<string, number>();
  const follower = await followAll(running.base, token, (type, jobId) => {
    if (type === 'job:done') doneAt.set(jobId, performance.now());
  });
  const sent = new Map<string, number>();
  const total = perSecond * seconds;
  const requests: Promise<void>[] = [];
  const began = performance.now();
  for (let n = 0; n < total; n++) {
    const due = began + (n * 1_000) / perSecond;
    await delay(Math.max(0, due - performance.now()));
    requests.push(
      fetch(`${running.base}/api/jobs`, {
        method: 'POST',
        headers: { ...bearer(token), 'Content-Type': 'application/json' },
        body: JSON.stringify(submission),
      }).then(async (response) => {
        sent.set(created.parse(await response.json()).data.id, due);
      }),
    );
  }
  await Promise.all(requests);
  for (const deadline = performance.now() + LAST_MS; performance.now() < deadline && doneAt.size < total;)
    await delay(20);
  await follower.close();
  const latencies = [...sent].flatMap(([id, at]) => {
    const done = doneAt.get(id);
    return done === undefined ? [] : [done - at];
  });
  return { latencies, missed: total - latencies.length };
}

const pacing = (subject: Subject, perSecond: number): Measured => ({
  name: subject.name,
  async measure(environment, { quick }) {
    const running = await subject.start(environment);
    try {
      await running.startWorker(10);
      await openLoop(running, perSecond, quick ? 1 : 3);
      const { latencies, missed } = await openLoop(running, perSecond, quick ? 2 : 15);
      return { p50: percentile(latencies, 50), p99: percentile(latencies, 99), missed };
    } finally {
      await running.stop();
    }
  },
});

const latencyScenario = (perSecond: number): Scenario => ({
  name: `latency-${perSecond}`,
  title: `${perSecond} jobs a second at fixed times: from POST to job:done on a WebSocket (ms)`,
  measured: [asyncly, baseline].map((subject) => pacing(subject, perSecond)),
  targets: [
    {
      text: 'asyncly p50 / baseline p50',
      value: (of) => of('asyncly', 'p50') / of('baseline', 'p50'),
      atMost: 0.7,
    },
    {
      text: 'asyncly p99 / baseline p99',
      value: (of) => of('asyncly', 'p99') / of('baseline', 'p99'),
      atMost: 1,
    },
    { text: 'ends that asyncly missed', value: (of) => of('asyncly', 'missed'), atMost: 0 },
  ],
});

export const latencyScenarios: readonly Scenario[] = [latencyScenario(20), latencyScenario(200)];
