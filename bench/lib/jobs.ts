import { setTimeout as delay } from 'node:timers/promises';
import { connect } from './connect.ts';
import { JOB_TYPE } from '../subjects/subject.ts';
import type { Running, User } from '../subjects/subject.ts';
import type { Environment } from './environment.ts';
import { load } from './load.ts';
import type { Amount, LoadReport } from './load.ts';

/** What every benchmark submits. */
export const submission = {
  type: JOB_TYPE,
  payload: { to: 'recipient@example.com', subject: 'Welcome', body: 'Your account has been created.' },
};

export const bearer = ({ token }: User) => ({ Authorization: `Bearer ${token}` });

/** Submits jobs over 50 connections. @throws when one is refused */
export function submit(running: Running, user: User, amount: Amount): Promise<LoadReport> {
  return load({
    url: `${running.base}/api/jobs`,
    method: 'POST',
    headers: bearer(user),
    body: submission,
    connections: 50,
    amount,
  });
}

export interface Progress {
  /** Milliseconds of a clock that does not jump. */
  readonly at: number;
  readonly done: number;
}

const LOOK_EVERY_MS = 50;
/** Without a job more done for so long, nothing more will come. */
const STALLED_MS = 60_000;

/**
 * Looks at the outcome until `count` jobs of a user are DONE.
 * @returns every look that saw more than the one before, by the clock of `performance.now()`
 * @throws when nothing moves any more
 */
export async function untilDone(running: Running, user: User, count: number): Promise<readonly Progress[]> {
  const client = await connect(running.databaseUrl);
  const seen: Progress[] = [];
  try {
    let movedAt = performance.now();
    for (;;) {
      const { rows } = await client.query<{ done: number }>({
        name: 'done',
        text: `SELECT count(*)::int AS done FROM jobs WHERE user_id = $1 AND status = 'DONE'`,
        values: [user.id],
      });
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

/** The ids of a user's jobs. */
export async function jobIds(running: Running, user: User): Promise<string[]> {
  const client = await connect(running.databaseUrl);
  try {
    const { rows } = await client.query<{ id: string }>('SELECT id FROM jobs WHERE user_id = $1', [user.id]);
    return rows.map(({ id }) => id);
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

/** What some work has used, as figures. */
export interface Costs {
  /** Milliseconds of processor time a job: of the subject's own processes, and with Postgres and Redis. */
  readonly cpuMs: number;
  readonly allCpuMs: number;
  /** The most memory its processes had, each at its own time. */
  readonly peakMb: number;
}

/** Starts counting. @returns what tells the costs of `jobs` jobs since; processes started meanwhile count from their start */
export function meter(
  environment: Environment,
  running: Pick<Running, 'processes'>,
): (jobs: number) => Costs {
  const ownSeconds = (): number =>
    running.processes().reduce((sum, each) => sum + each.usage().cpuSeconds, 0);
  const before = { own: ownSeconds(), servers: environment.serverSeconds() };
  return (jobs) => {
    const own = ownSeconds() - before.own;
    const servers = environment.serverSeconds() - before.servers;
    return {
      cpuMs: (own / jobs) * 1_000,
      allCpuMs: ((own + servers) / jobs) * 1_000,
      peakMb: running.processes().reduce((sum, each) => sum + each.usage().peakMb, 0),
    };
  };
}
