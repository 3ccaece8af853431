import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decideWebhook,
  NothingToRedeliverError,
  StaleAttemptError,
  WEBHOOK_ATTEMPTS,
  WebhookUnderWayError,
} from '../../src/commands/webhook-decider.ts';
import { AppError } from '../../src/errors.ts';
import { evolveWebhook } from '../../src/events/webhook.ts';
import type { Webhook, WebhookEvent } from '../../src/events/webhook.ts';
import { NOW } from '../support/job-spec.ts';
import {
  foldWebhook,
  givenWebhook,
  later,
  webhookCommands as commands,
  webhookEvents as events,
} from '../support/webhook-spec.ts';

const failedOnce = events.attempted(1, { nextAttemptAt: later(2_000) });
const failedTwice = [failedOnce, events.attempted(2, { nextAttemptAt: later(4_000) })];
const givenUp = [...failedTwice, events.attempted(3), events.abandoned(3)];

describe('recording an attempt', () => {
  it('ends the delivery at a success', () => {
    givenWebhook().when(commands.succeed(1)).then(events.delivered(1));
    givenWebhook(...failedTwice)
      .when(commands.succeed(3))
      .then(events.delivered(3));
  });

  it('tries again 2 s after the first failure and 4 s after the second', () => {
    givenWebhook().when(commands.record(1)).then(failedOnce);
    givenWebhook(failedOnce)
      .when(commands.record(2))
      .then(events.attempted(2, { nextAttemptAt: later(4_000) }));
  });

  it('gives up after the third', () => {
    givenWebhook(...failedTwice)
      .when(commands.record(3))
      .then(events.attempted(3), events.abandoned(3));
  });

  it('keeps what happened when there was no answer', () => {
    const failure = { statusCode: null, error: 'connect ECONNREFUSED' };
    givenWebhook()
      .when(commands.record(1, failure))
      .then(events.attempted(1, { ...failure, nextAttemptAt: later(2_000) }));
  });

  it.each<[string, WebhookEvent[], number]>([
    ['the same one again', [failedOnce], 1],
    ['one that skips another', [failedOnce], 3],
    ['a first one that is not the first', [], 2],
    ['one after the delivery', [events.delivered(1)], 2],
    ['the delivery again', [events.delivered(1)], 1],
    ['one after the end', givenUp, 4],
    ['the one before a redelivery', [...givenUp, events.redeliveryRequested(4)], 3],
  ])('refuses %s', (_, history, attempt) => {
    givenWebhook(...history)
      .when(commands.record(attempt))
      .thenThrows(StaleAttemptError);
  });
});

describe('requesting a redelivery', () => {
  it('begins a new series of attempts that goes on counting', () => {
    givenWebhook(events.delivered(1)).when(commands.redeliver()).then(events.redeliveryRequested(2));
    givenWebhook(...givenUp)
      .when(commands.redeliver())
      .then(events.redeliveryRequested(4));
  });

  it('gives the new series as many attempts as the first, with the same waits', () => {
    const history = [...givenUp, events.redeliveryRequested(4)];
    const waits = [2_000, 4_000, null];
    for (const [n, wait] of waits.entries()) {
      const attempted = events.attempted(4 + n, { nextAttemptAt: wait === null ? null : later(wait) });
      const then = wait === null ? [attempted, events.abandoned(6)] : [attempted];
      givenWebhook(...history)
        .when(commands.record(4 + n))
        .then(...then);
      history.push(attempted);
    }
  });

  it('is refused when the end was never to be delivered', () => {
    givenWebhook().when(commands.redeliver(false)).thenThrows(NothingToRedeliverError);
  });

  it('is refused while the delivery is under way, and says until when', () => {
    givenWebhook().when(commands.redeliver()).thenThrows(WebhookUnderWayError);
    givenWebhook(failedOnce)
      .when(commands.redeliver())
      .thenThrows(WebhookUnderWayError, /due at 2026-05-19T10:00:02\.000Z/);
    givenWebhook(events.delivered(1), events.redeliveryRequested(2))
      .when(commands.redeliver())
      .thenThrows(WebhookUnderWayError);
  });
});

describe('evolveWebhook', () => {
  it('knows the attempt to come', () => {
    expect(foldWebhook([failedOnce])).toMatchObject({
      next: { attempt: 2, dueAt: later(2_000) },
      attempts: 1,
      delivered: false,
    });
    expect(foldWebhook([events.delivered(1)])).toMatchObject({ next: null, delivered: true });
    expect(foldWebhook([...givenUp, events.redeliveryRequested(4)])).toMatchObject({
      next: { attempt: 4, dueAt: NOW },
      attempts: 3,
    });
  });

  it('refuses a stream that begins otherwise', () => {
    expect(() => foldWebhook([events.abandoned(3)])).toThrow('begins with WebhookAbandoned');
  });
});

/** Any story the decider allows, from commands that come in any order, also twice. */
const story = fc
  .array(
    fc.record({
      what: fc.constantFrom('next', 'next', 'next', 'again', 'ahead', 'redeliver'),
      success: fc.boolean(),
    }),
    { maxLength: 40, size: 'max' },
  )
  .map((steps) => {
    const written: WebhookEvent[] = [];
    let webhook: Webhook | null = null;
    for (const { what, success } of steps) {
      const made: number = webhook?.attempts ?? 0;
      const attempt = what === 'again' ? Math.max(made, 1) : made + (what === 'ahead' ? 2 : 1);
      const record = success ? commands.succeed(attempt) : commands.record(attempt);
      try {
        const decided = decideWebhook(webhook, what === 'redeliver' ? commands.redeliver() : record, NOW);
        for (const event of decided) {
          webhook = evolveWebhook(webhook, { event, occurredAt: NOW, revision: written.length });
          written.push(event);
        }
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
      }
    }
    return { written, webhook };
  });

describe('any story of a webhook', () => {
  it('records each attempt once and in order, with the same bytes', () => {
    fc.assert(
      fc.property(story, ({ written }) => {
        const attempts = written.filter((event) => event.type === 'WebhookAttempted');
        expect(attempts.map(({ data }) => data.attempt)).toEqual(attempts.map((_, n) => n + 1));
        expect(new Set(attempts.map(({ data }) => data.body)).size).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('has at most three attempts between two requests, and none after a success', () => {
    fc.assert(
      fc.property(story, ({ written }) => {
        let series: WebhookEvent[] = [];
        for (const event of written) {
          if (event.type === 'WebhookRedeliveryRequested') series = [];
          if (event.type !== 'WebhookAttempted') continue;
          expect(series.some(({ data }) => 'success' in data && data.success)).toBe(false);
          series.push(event);
          expect(series.length).toBeLessThanOrEqual(WEBHOOK_ATTEMPTS);
        }
      }),
    );
  });

  it('always ends or says what comes next', () => {
    fc.assert(
      fc.property(story, ({ written, webhook }) => {
        if (webhook === null) return;
        const last = written.at(-1);
        const over =
          last?.type === 'WebhookAbandoned' || (last?.type === 'WebhookAttempted' && last.data.success);
        expect(webhook.next === null).toBe(over);
        if (webhook.next !== null) expect(webhook.next.attempt).toBe(webhook.attempts + 1);
      }),
    );
  });
});
