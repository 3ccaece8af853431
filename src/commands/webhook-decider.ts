import { AppError } from '../errors.ts';
import type { Webhook, WebhookEvent } from '../events/webhook.ts';

/** Attempts of one series: at once, then after the base wait, then after twice that. */
export const WEBHOOK_ATTEMPTS = 3;

/** Everything that can be asked of a webhook. Ids and times come in as data. */
export type WebhookCommand =
  | {
      readonly type: 'RecordWebhookAttempt';
      readonly jobId: string;
      readonly round: number;
      readonly url: string;
      readonly body: string;
      /** The attempt that was made. */
      readonly attempt: number;
      readonly statusCode: number | null;
      readonly success: boolean;
      readonly error: string | null;
      /** Wait after the first failed attempt of a series; doubled each time. */
      readonly backoffMs: number;
    }
  /** `wanted`: whether the round's end was to be delivered at all, as the job's own stream has it. */
  | { readonly type: 'RequestRedelivery'; readonly wanted: boolean };

/** The attempt reported is not the webhook's next one: it has been recorded already. */
export class StaleAttemptError extends AppError {
  constructor(attempt: number, next: number | null) {
    super('STALE_WEBHOOK_ATTEMPT', `Attempt ${attempt} is not what the webhook waits for`, { attempt, next });
  }
}

/** The end that a redelivery was asked for has no webhook. */
export class NothingToRedeliverError extends AppError {
  constructor(message = 'This end of the job has no webhook to deliver') {
    super('NOTHING_TO_REDELIVER', message);
  }
}

/** A redelivery was asked for while attempts are still to come. */
export class WebhookUnderWayError extends AppError {
  constructor(dueAt: string | null) {
    const when = dueAt === null ? '' : `: the next attempt is due at ${dueAt}`;
    super('WEBHOOK_UNDER_WAY', `The webhook is still being delivered${when}`, { dueAt });
  }
}

/**
 * What a command does to a webhook. Pure: the same state, command and time give the same events.
 * @param webhook the state the stream folds to, null before the first attempt was recorded
 * @param now ISO 8601, UTC
 * @throws one of the errors above; nothing is to be written then
 */
export function decideWebhook(webhook: Webhook | null, command: WebhookCommand, now: string): WebhookEvent[] {
  switch (command.type) {
    case 'RecordWebhookAttempt':
      return record(webhook, command, now);
    case 'RequestRedelivery': {
      if (!command.wanted) throw new NothingToRedeliverError();
      if (webhook === null) throw new WebhookUnderWayError(null);
      if (webhook.next !== null) throw new WebhookUnderWayError(webhook.next.dueAt);
      const { jobId, round, attempts } = webhook;
      return [{ type: 'WebhookRedeliveryRequested', data: { jobId, round, attempt: attempts + 1 } }];
    }
    default:
      return command satisfies never;
  }
}

function record(
  webhook: Webhook | null,
  command: Extract<WebhookCommand, { type: 'RecordWebhookAttempt' }>,
  now: string,
): WebhookEvent[] {
  const { jobId, round, url, body, attempt, statusCode, success, error, backoffMs } = command;
  const expected = webhook === null ? 1 : (webhook.next?.attempt ?? null);
  if (attempt !== expected) throw new StaleAttemptError(attempt, expected);
  const failures = attempt - (webhook?.seriesStart ?? 1) + 1;
  const attempted = (nextAttemptAt: string | null): WebhookEvent => ({
    type: 'WebhookAttempted',
    data: { jobId, round, url, body, attempt, statusCode, success, error, nextAttemptAt },
  });
  if (success) return [attempted(null)];
  if (failures >= WEBHOOK_ATTEMPTS) {
    return [attempted(null), { type: 'WebhookAbandoned', data: { jobId, round, attempts: attempt } }];
  }
  return [attempted(new Date(Date.parse(now) + backoffMs * 2 ** (failures - 1)).toISOString())];
}
