import type { JobEnd, Json } from '../../src/events/job.ts';

/**
 * What is known of a request: it was carried out, it was not, or nobody can say (no answer, or one that says that an answer could
 * not be had in time).
 */
export type Outcome = 'ok' | 'failed' | 'unknown';

/** The ends that users with a webhook ask to be told of. */
export const WEBHOOK_EVENTS: readonly JobEnd[] = ['DONE', 'FAILED', 'CANCELLED'];

/** A job as a user asked for it. `n` stands in its payload, so that it is found again whatever became of the answers. */
export interface Submission {
  readonly n: number;
  readonly userId: string;
  readonly type: string;
  readonly payload: Readonly<Record<string, Json>>;
  readonly webhookUrl: string | null;
  readonly idempotencyKey: string | null;
  /** Of each request that was made for it. */
  readonly outcomes: Outcome[];
  /** As the answer named it. */
  jobId: string | null;
}

export type CommandKind = 'cancel' | 'retry' | 'redeliver';

/** Something asked of a job that was acknowledged. */
export interface Command {
  readonly kind: CommandKind;
  readonly jobId: string;
  /** Of the webhook that is to be delivered again; null for other commands. */
  readonly round: number | null;
  readonly outcome: Outcome;
  /** Whether it was answered that the job is to be cancelled once its handler has stopped. */
  readonly requested: boolean;
}

/** An answer that no fault explains, or something that the users saw and must not see. */
export interface Oddity {
  readonly what: string;
  readonly jobId: string | null;
}

/** Everything that the users of a run did and were told. */
export class History {
  readonly submissions: Submission[] = [];
  readonly commands: Command[] = [];
  readonly oddities: Oddity[] = [];
  /** Requests by what they were and how they were answered, e.g. `submit 201` or `cancel ECONNRESET`. */
  readonly answers = new Map<string, number>();

  count(request: string, answer: string): void {
    const key = `${request} ${answer}`;
    this.answers.set(key, (this.answers.get(key) ?? 0) + 1);
  }

  get acknowledged(): Submission[] {
    return this.submissions.filter(({ jobId }) => jobId !== null);
  }

  outcomes(): Record<Outcome, number> {
    const all = [
      ...this.submissions.flatMap((one) => one.outcomes),
      ...this.commands.map((one) => one.outcome),
    ];
    const count = (outcome: Outcome): number => all.filter((one) => one === outcome).length;
    return { ok: count('ok'), failed: count('failed'), unknown: count('unknown') };
  }
}
