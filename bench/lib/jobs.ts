import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { JOB_TYPE } from '../subjects/subject.ts';
import type { Running } from '../subjects/subject.ts';
import { load } from './load.ts';
import type { LoadReport } from './load.ts';

/** What every benchmark submits. */
export const submission = {
  type: JOB_TYPE,
  payload: { to: 'recipient@example.com', subject: 'Welcome', body: 'Your account has been created.' },
};

export const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });

/** Submits jobs over 50 connections. @throws when one is refused */
export async function submit(
  running: Running,
  token: string,
  amount: { readonly seconds: number } | { readonly requests: number },
): Promise<LoadReport> {
  const report = await load({
    url: `${running.base}/api/jobs`,
    method: 'POST',
    headers: bearer(token),
    body: submission,
    connections: 50,
    ...amount,
  });
  if (report.failed > 0) throw new Error(`${report.failed} submissions failed`);
  return report;
}

export interface Progress {
  /** Milliseconds of `performance.now()`. */
  readonly at: number;
  readonly done: number;
}

const LOOK_EVERY_MS = 50;
/** Without a job more done for so long, nothing more will come. */
const STALLED_MS = 60_000;

/** Looks at the outcome until `count` jobs are DONE. @returns every look that saw more than the one before */
export async function untilDone(databaseUrl: string, count: number): Promise<readonly Progress[]> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  const seen: Progress[] = [];
  try {
    let movedAt = performance.now();
    for (;;) {
      const { rows } = await client.query<{ done: number }>(
        `SELECT count(*)::int AS done FROM jobs WHERE status = 'DONE'`,
      );
      const now = performance.now();
      const done = rows[0]!.done;
      if (done > (seen.at(-1)?.done ?? 0)) {
        seen.push({ at: now, done });
        movedAt = now;
      }
      if (done >= count) return seen;
      if (now - movedAt > STALLED_MS) throw new Error(`Only ${done} of ${count} jobs are done`);
      await delay(LOOK_EVERY_MS);
    }
  } finally {
    await client.end();
  }
}

/** Completions a second between the first look that saw some and the last. */
export function rateOf(seen: readonly Progress[]): number {
  const first = seen[0]!;
  const last = seen.at(-1)!;
  return ((last.done - first.done) / (last.at - first.at)) * 1_000;
}

/** CPU seconds and the peak of memory of all processes of a subject. */
export function resources(running: Running): { cpuSeconds: number; peakMb: number } {
  const usages = running.processes().map((each) => each.usage());
  return {
    cpuSeconds: usages.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0),
    peakMb: usages.reduce((sum, { peakMb }) => sum + peakMb, 0),
  };
}
