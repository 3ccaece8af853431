import { setTimeout as delay } from 'node:timers/promises';
import type { Job } from '../../src/events/job.ts';
import { Client } from './client.ts';
import type { Reply, User } from './client.ts';
import { WEBHOOK_EVENTS } from './history.ts';
import type { CommandKind, History, Submission } from './history.ts';
import type { JobPlan } from './job-plan.ts';
import type { FlakyReceiver } from './receiver.ts';

export interface LoadOptions {
  readonly plans: Iterable<JobPlan>;
  /** Submissions at least. */
  readonly jobs: number;
  readonly users: readonly User[];
  /** Addresses of the apis. */
  readonly apis: readonly string[];
  readonly receiver: FlakyReceiver;
  readonly history: History;
  /** Milliseconds over which that many submissions are spread evenly. */
  readonly overMs: number;
  /** Until then the users go on at the same pace: faults that come late strike at somebody as well. */
  readonly until: AbortSignal;
  readonly signal: AbortSignal;
}

/** Jobs that a user is busy with at the same time, all users together. */
const MOST_UNDER_WAY = 400;
/** How long a submission with a key is repeated, after which the service counts as lost for good. */
const REPEAT_FOR_MS = 180_000;
const POLL_MS = 1_500;
/** Looks for the end that a retry waits for. */
const POLLS = 30;

/** What the users do. Resolves when each has done what it had planned, or given up. */
export async function runLoad(options: LoadOptions): Promise<void> {
  const { plans, jobs, overMs, until, signal } = options;
  const began = performance.now();
  const underWay = new Set<Promise<void>>();
  let index = 0;
  for (const plan of plans) {
    if (index >= jobs && until.aborted) break;
    const due = (overMs * index++) / jobs - (performance.now() - began);
    if (due > 0) await delay(due, undefined, { signal });
    while (underWay.size >= MOST_UNDER_WAY) await Promise.race(underWay);
    signal.throwIfAborted();
    const task: Promise<void> = new UserOfJob(options, plan).act().finally(() => underWay.delete(task));
    // Thrown by the await below, not as a rejection that nobody waits for.
    task.catch(() => undefined);
    underWay.add(task);
  }
  await Promise.all(underWay);
}

/** One user and one job. */
class UserOfJob {
  readonly #options: LoadOptions;
  readonly #plan: JobPlan;
  readonly #client: Client;
  /** Which api is next. */
  #turn: number;

  constructor(options: LoadOptions, plan: JobPlan) {
    this.#options = options;
    this.#plan = plan;
    this.#client = new Client(options.history);
    this.#turn = plan.n;
  }

  async act(): Promise<void> {
    const { cancel, retry } = this.#plan;
    const submission = await this.#submit();
    if (submission.jobId === null) return;
    if (cancel !== null) {
      await this.#wait(cancel.afterMs);
      await this.#command('cancel', submission.jobId, ['DELETE', cancel.force ? '?force=true' : '']);
    }
    if (retry && (await this.#hasEndedBadly(submission.jobId))) {
      await this.#command('retry', submission.jobId, ['POST', '/retry']);
    }
  }

  async #submit(): Promise<Submission> {
    const { plan, history, users, receiver } = { ...this.#options, plan: this.#plan };
    const { n, type, payload, delayMs, webhook, withKey } = plan;
    const submission: Submission = {
      n,
      type,
      payload,
      userId: users[plan.user]!.id,
      webhookUrl: webhook === null ? null : receiver.urlFor(webhook, n),
      idempotencyKey: withKey ? `order-${n}` : null,
      outcomes: [],
      jobId: null,
    };
    history.submissions.push(submission);
    const { webhookUrl, idempotencyKey } = submission;
    const body = {
      type,
      payload,
      ...(delayMs !== null && { delayMs }),
      ...(webhookUrl !== null && { webhookUrl, webhookEvents: WEBHOOK_EVENTS }),
    };
    const headers = idempotencyKey === null ? {} : { 'idempotency-key': idempotencyKey };
    const began = performance.now();
    for (let wait = 200; ; wait = Math.min(wait * 2, 3_000)) {
      const { outcome, answer } = await this.#send('submit', ['POST', ''], { body, headers });
      submission.outcomes.push(outcome);
      if (outcome === 'ok') {
        submission.jobId = (answer!.body.data as { id: string }).id;
        return submission;
      }
      // An api that stands still while a request comes in answers 408 when it goes on: it has not seen all of it.
      if (outcome === 'failed' && answer !== null && answer.status !== 408) {
        this.#odd(`A submission was refused: ${answer.status} ${answer.body.message ?? ''}`, null);
        return submission;
      }
      // Without a key nobody may repeat what may have been carried out.
      if (outcome === 'unknown' && idempotencyKey === null) return submission;
      if (performance.now() - began > REPEAT_FOR_MS) return submission;
      await this.#wait(wait);
    }
  }

  async #command(kind: CommandKind, jobId: string, [method, path]: readonly [string, string]): Promise<void> {
    const { outcome, answer } = await this.#send(kind, [method, `/${jobId}${path}`]);
    this.#notLost(answer?.status, kind, jobId);
    const { cancelRequested = false } = (answer?.body.data ?? {}) as Partial<Job>;
    this.#options.history.commands.push({ kind, jobId, round: null, outcome, requested: cancelRequested });
  }

  async #hasEndedBadly(jobId: string): Promise<boolean> {
    for (let polls = 0; polls < POLLS; polls++) {
      await this.#wait(POLL_MS);
      const { answer } = await this.#send('get', ['GET', `/${jobId}`]);
      this.#notLost(answer?.status, 'get', jobId);
      const { status } = (answer?.body.data ?? {}) as Partial<Job>;
      if (status === 'FAILED' || status === 'CANCELLED') return true;
      if (status === 'DONE') return false;
    }
    return false;
  }

  /** Whoever was told of a job's id sees the job. */
  #notLost(status: number | undefined, request: string, jobId: string): void {
    if (status === 404) this.#odd(`A ${request} of an acknowledged job was answered 404`, jobId);
  }

  #odd(what: string, jobId: string | null): void {
    this.#options.history.oddities.push({ what, jobId });
  }

  #send(
    name: string,
    [method, path]: readonly [string, string],
    given: { body?: object; headers?: Record<string, string> } = {},
  ): Promise<Reply> {
    const { apis, users } = this.#options;
    const base = apis[this.#turn++ % apis.length]!;
    const { token } = users[this.#plan.user]!;
    return this.#client.send(name, base, [method, `/api/jobs${path}`], { token, ...given });
  }

  #wait(milliseconds: number): Promise<void> {
    return delay(milliseconds, undefined, { signal: this.#options.signal });
  }
}
