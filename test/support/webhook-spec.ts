import { expect } from 'vitest';
import { decideWebhook } from '../../src/commands/webhook-decider.ts';
import type { WebhookCommand } from '../../src/commands/webhook-decider.ts';
import type { AppError } from '../../src/errors.ts';
import { evolveWebhook } from '../../src/events/webhook.ts';
import type { Webhook, WebhookEvent } from '../../src/events/webhook.ts';
import { JOB_ID, NOW } from './job-spec.ts';

type DataOf<Type extends WebhookEvent['type']> = Extract<WebhookEvent, { type: Type }>['data'];
type CommandOf<Type extends WebhookCommand['type']> = Extract<WebhookCommand, { type: Type }>;

const origin = { jobId: JOB_ID, round: 1 };
const sent = { url: 'https://example.com/hook', body: `{"jobId":"${JOB_ID}"}` };

/** The time some milliseconds after {@link NOW}. */
export const later = (ms: number): string => new Date(Date.parse(NOW) + ms).toISOString();

/** Events of one webhook with the usual values: an attempt failed with 500 unless said otherwise. */
export const webhookEvents = {
  attempted: (attempt: number, data: Partial<DataOf<'WebhookAttempted'>> = {}): WebhookEvent => {
    const outcome = { statusCode: 500, success: false, error: 'Internal Server Error', nextAttemptAt: null };
    return { type: 'WebhookAttempted', data: { ...origin, ...sent, attempt, ...outcome, ...data } };
  },
  delivered: (attempt: number): WebhookEvent =>
    webhookEvents.attempted(attempt, { statusCode: 200, success: true, error: null }),
  abandoned: (attempts: number): WebhookEvent => ({
    type: 'WebhookAbandoned',
    data: { ...origin, attempts },
  }),
  redeliveryRequested: (attempt: number): WebhookEvent => ({
    type: 'WebhookRedeliveryRequested',
    data: { ...origin, attempt },
  }),
};

export const webhookCommands = {
  record: (attempt: number, data: Partial<CommandOf<'RecordWebhookAttempt'>> = {}): WebhookCommand => ({
    type: 'RecordWebhookAttempt',
    ...origin,
    ...sent,
    attempt,
    statusCode: 500,
    success: false,
    error: 'Internal Server Error',
    backoffMs: 2_000,
    ...data,
  }),
  succeed: (attempt: number): WebhookCommand =>
    webhookCommands.record(attempt, { statusCode: 200, success: true, error: null }),
  redeliver: (wanted = true): WebhookCommand => ({ type: 'RequestRedelivery', wanted }),
};

/** The state that some events of one stream fold to. */
export function foldWebhook(history: readonly WebhookEvent[], occurredAt: string = NOW): Webhook | null {
  return history.reduce<Webhook | null>(
    (webhook, event, revision) => evolveWebhook(webhook, { event, occurredAt, revision }),
    null,
  );
}

/** After some events, when a command comes (at {@link NOW}), then these events or that error. */
export function givenWebhook(...history: WebhookEvent[]) {
  return {
    when: (command: WebhookCommand) => {
      const decide = (): WebhookEvent[] => decideWebhook(foldWebhook(history), command, NOW);
      return {
        then: (...expected: WebhookEvent[]): void => expect(decide()).toEqual(expected),
        thenThrows(error: new (...args: never[]) => AppError, message = /./): void {
          expect(decide).toThrow(error);
          expect(decide).toThrow(message);
        },
      };
    },
  };
}
