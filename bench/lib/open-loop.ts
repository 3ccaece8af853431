import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import type { Running, User } from '../subjects/subject.ts';
import { bearer, submission } from './jobs.ts';

const created = z.object({ data: z.object({ id: z.string() }) });

export interface Submitted {
  readonly id: string;
  /** When it was to be submitted, by the clock of `performance.now()`. */
  readonly due: number;
}

/**
 * Submits jobs at fixed times, whatever is answered meanwhile, for each user in turn. @throws when one is refused
 * @returns once all are answered
 */
export async function submitSteadily(
  running: Running,
  users: readonly User[],
  perSecond: number,
  count: number,
): Promise<Submitted[]> {
  const requests: Promise<Submitted>[] = [];
  const began = performance.now();
  for (let n = 0; n < count; n++) {
    const due = began + (n * 1_000) / perSecond;
    await delay(Math.max(0, due - performance.now()));
    const request = submitOne(running, users[n % users.length]!).then((id) => ({ id, due }));
    // Waited for below: meanwhile a refusal must not end the process.
    request.catch(() => undefined);
    requests.push(request);
  }
  return Promise.all(requests);
}

/** @returns the job's id */
export async function submitOne(running: Running, user: User): Promise<string> {
  const response = await fetch(`${running.base}/api/jobs`, {
    method: 'POST',
    headers: { ...bearer(user), 'Content-Type': 'application/json' },
    body: JSON.stringify(submission),
  });
  if (!response.ok) throw new Error(`A submission was answered with ${response.status}`);
  return created.parse(await response.json()).data.id;
}
