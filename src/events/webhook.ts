import { z } from 'zod';
import { plainText } from './json.ts';

/** The stream of one webhook: what one end of a job, that of a round, was told to its `webhookUrl`. */
export const webhookStream = (webhookId: string): string => `webhook-${webhookId}`;
export const WEBHOOK_PREFIX = 'webhook-';

/** A webhook's id: also what its receiver knows it by, so it stays the same whatever is sent again. */
export const webhookId = (jobId: string, round: number): string => `${jobId}-${round}`;

const origin = { jobId: z.uuid(), round: z.int().positive() };
/** Counts from 1 over the whole life of a webhook: redeliveries go on counting. */
const attempt = z.int().positive();

/** The stored shapes, newest version of each. */
export const webhookEventSchemas = {
  /** One POST, however it went. */
  WebhookAttempted: z.object({
    ...origin,
    url: plainText,
    /** The exact text that was sent, the same at every attempt: signatures are made over its bytes. */
    body: plainText,
    attempt,
    /** null when there was no answer. */
    statusCode: z.int().nullable(),
    success: z.boolean(),
    error: plainText.nullable(),
    /** null when it was the last one. */
    nextAttemptAt: z.iso.datetime().nullable(),
  }),
  /** The last attempt of a series failed: nothing more is sent unless somebody asks for it. */
  WebhookAbandoned: z.object({ ...origin, attempts: z.int().positive() }),
  /** A new series of attempts begins with this one. */
  WebhookRedeliveryRequested: z.object({ ...origin, attempt }),
} as const;

export type WebhookEvent = {
  [Type in keyof typeof webhookEventSchemas]: {
    readonly type: Type;
    readonly data: Readonly<z.infer<(typeof webhookEventSchemas)[Type]>>;
  };
}[keyof typeof webhookEventSchemas];

/** What a webhook's stream amounts to. There is none before the first attempt has been recorded. */
export interface Webhook {
  readonly jobId: string;
  readonly round: number;
  readonly url: string;
  readonly body: string;
  /** The attempt to come and when it is due; null when none is. */
  readonly next: { readonly attempt: number; readonly dueAt: string } | null;
  /** The attempt the present series began with. */
  readonly seriesStart: number;
  /** Attempts made so far, in all series. */
  readonly attempts: number;
  /** Whether the last attempt was a success. */
  readonly delivered: boolean;
  readonly updatedAt: string;
  /** Revision of the last event folded in. */
  readonly revision: number;
}

export interface EvolvableWebhookEvent {
  readonly event: WebhookEvent;
  readonly occurredAt: string;
  readonly revision: number;
}

/**
 * The state after one more event. Pure.
 * @param webhook the state before, null before the first event
 * @throws Error when a stream does not begin with WebhookAttempted
 */
export function evolveWebhook(
  webhook: Webhook | null,
  { event, occurredAt, revision }: EvolvableWebhookEvent,
): Webhook {
  const envelope = { updatedAt: occurredAt, revision };
  if (event.type === 'WebhookAttempted') {
    const { jobId, round, url, body, attempt, success, nextAttemptAt } = event.data;
    const next = nextAttemptAt === null ? null : { attempt: attempt + 1, dueAt: nextAttemptAt };
    const seriesStart = webhook?.seriesStart ?? 1;
    return { jobId, round, url, body, next, seriesStart, attempts: attempt, delivered: success, ...envelope };
  }
  if (webhook === null) throw new Error(`A webhook's stream begins with ${event.type}`);
  switch (event.type) {
    case 'WebhookAbandoned':
      return { ...webhook, next: null, ...envelope };
    case 'WebhookRedeliveryRequested': {
      const { attempt } = event.data;
      return { ...webhook, next: { attempt, dueAt: occurredAt }, seriesStart: attempt, ...envelope };
    }
    default:
      return event satisfies never;
  }
}
