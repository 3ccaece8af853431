import { STATUS_CODES } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { KeyObject } from 'node:crypto';
import type { CommandContext } from '../commands/command-handler.ts';
import { loadRoundEnd, loadWebhook } from '../commands/webhook-commands.ts';
import type { HandleWebhookCommand, RoundEnd } from '../commands/webhook-commands.ts';
import { StaleAttemptError } from '../commands/webhook-decider.ts';
import { DestinationNotAllowedError } from '../egress/address-policy.ts';
import { RequestFailedError } from '../egress/egress-client.ts';
import type { EgressClient } from '../egress/egress-client.ts';
import { errorMessage, UnavailableError } from '../errors.ts';
import type { EventStore } from '../events/event-store.ts';
import { toPlainText } from '../events/json.ts';
import { webhookId } from '../events/webhook.ts';
import type { WebhookSecrets } from '../identity/webhook-secrets.ts';
import type { Logger } from '../logger.ts';
import { Comebacks, DeliverySlots } from './delivery-slots.ts';
import type { SlotLimits } from './delivery-slots.ts';
import { webhookBody } from './webhook-body.ts';
import { webhookHeaders } from './webhook-signature.ts';
import type { WorkItem, WorkOutcome } from './work-queue.ts';

export interface WebhookSenderOptions {
  readonly store: EventStore;
  readonly webhooks: HandleWebhookCommand;
  readonly egress: Pick<EgressClient, 'send'>;
  readonly secrets: Pick<WebhookSecrets, 'signingKeys'>;
  /** The service-wide secret, for `X-Asyncly-Signature`. */
  readonly webhookKey: KeyObject;
  /** Wait after the first failed attempt, in milliseconds; doubled each time. */
  readonly backoffMs: number;
  /** For one attempt, from the look-up of the name to the end of the answer. */
  readonly timeoutMs: number;
  /** Deliveries under way in this process: in all, and for each receiver and each user. */
  readonly limits: SlotLimits;
  readonly workerId: string;
  readonly logger: Logger;
}

export interface WebhookSender {
  /**
   * Makes the attempt that a queue entry names, and records it. Gives the entry back when the attempt is not due, no slot
   * is free, or the process stops; drops it when the attempt has been recorded.
   */
  deliver(item: WorkItem): Promise<WorkOutcome>;
  /** Cuts off what is under way and takes nothing more: the entries are given back, unrecorded. */
  interrupt(): void;
}

/** How an attempt went. */
interface Outcome {
  readonly statusCode: number | null;
  readonly success: boolean;
  readonly error: string | null;
}

/**
 * Jobs and webhooks share a process's `concurrency`. Deliveries take at most half of it, so that receivers that hang never
 * hold jobs up, and one receiver or user at most half of that, so that it never holds up the others.
 */
export function slotLimits(concurrency: number): SlotLimits {
  const total = Math.ceil(concurrency / 2);
  return { total, perKey: Math.ceil(total / 2) };
}

const done: WorkOutcome = { done: true };
const again = (againInMs: number): WorkOutcome => ({ done: false, againInMs });

/** Bytes of a receiver's answer that are read, and dropped. */
const MAX_RESPONSE_BYTES = 16_384;
/** How long an outcome is offered to an event store that does not answer; then the whole attempt is made again. */
const RECORD_FOR_MS = 30_000;

export function createWebhookSender(options: WebhookSenderOptions): WebhookSender {
  const { store, webhooks, egress, secrets, webhookKey, backoffMs, timeoutMs, workerId } = options;
  const slots = new DeliverySlots(options.limits);
  const comebacks = new Comebacks();
  const stop = new AbortController();

  async function deliver(item: WorkItem): Promise<WorkOutcome> {
    if (stop.signal.aborted) return again(0);
    // Before anything is read: a crowd that waits should cost little.
    if (slots.full) return again(comebacks.next());
    const { jobId, round, attempt } = item;
    const logger = options.logger.child({ jobId, round, attempt });
    const id = webhookId(jobId, round);
    const webhook = await loadWebhook(store, id);
    const next = webhook === null ? { attempt: 1, dueAt: null } : webhook.next;
    if (next?.attempt !== attempt) {
      logger.debug('Dropped a queue entry that is not what the webhook waits for');
      return done;
    }
    const early = next.dueAt === null ? 0 : Date.parse(next.dueAt) - Date.now();
    if (early > 0) return again(early);
    const end = await loadRoundEnd(store, jobId, round);
    const url = webhook?.url ?? end?.job.webhookUrl ?? null;
    if (end?.webhook !== true || url === null) {
      logger.warn('Dropped a queue entry of an end that has no webhook');
      return done;
    }
    const release = slots.take([`receiver ${originOf(url)}`, `user ${end.job.userId}`]);
    if (release === null) return again(comebacks.next());
    try {
      // Built once: what was sent first is what is sent ever after.
      const body = webhook?.body ?? webhookBody(end.job);
      const outcome = await post({ id, url, body, attempt, userId: end.job.userId });
      if (outcome === null) return again(0);
      logger.info({ ...outcome, correlationId: end.correlationId }, 'Webhook attempt');
      await record(id, { jobId, round, url, body, attempt, ...outcome }, contextOf(end), logger);
      return done;
    } finally {
      release();
    }
  }

  /** @returns null when the process stopped before there was an answer */
  async function post(request: {
    id: string;
    url: string;
    body: string;
    attempt: number;
    userId: string;
  }): Promise<Outcome | null> {
    const { url, body, userId } = request;
    const keys = await secrets.signingKeys(userId);
    const timestamp = Math.floor(Date.now() / 1_000);
    try {
      const { status } = await egress.send({
        url,
        method: 'POST',
        headers: webhookHeaders({ ...request, timestamp }, webhookKey, keys),
        body,
        timeoutMs,
        maxResponseBytes: MAX_RESPONSE_BYTES,
        signal: stop.signal,
      });
      const success = status >= 200 && status < 300;
      return {
        statusCode: status,
        success,
        error: success ? null : (STATUS_CODES[status] ?? `HTTP ${status}`),
      };
    } catch (error) {
      if (stop.signal.aborted) return null;
      if (!(error instanceof RequestFailedError || error instanceof DestinationNotAllowedError)) throw error;
      return { statusCode: null, success: false, error: toPlainText(error.message) };
    }
  }

  async function record(
    id: string,
    attempted: { jobId: string; round: number; url: string; body: string; attempt: number } & Outcome,
    context: CommandContext,
    logger: Logger,
  ): Promise<void> {
    const deadline = performance.now() + RECORD_FOR_MS;
    for (let wait = 50; ; wait = Math.min(wait * 2, 2_000)) {
      try {
        await webhooks(id, { type: 'RecordWebhookAttempt', ...attempted, backoffMs }, context);
        return;
      } catch (error) {
        // Another worker, or a try of ours whose answer was lost, has recorded it.
        if (error instanceof StaleAttemptError) return;
        if (!(error instanceof UnavailableError) || stop.signal.aborted || performance.now() > deadline)
          throw error;
        logger.warn({ reason: errorMessage(error) }, 'Webhook attempt not recorded yet; trying again');
        await delay(wait * (0.5 + Math.random() / 2));
      }
    }
  }

  function contextOf({ correlationId, eventId }: RoundEnd): CommandContext {
    return { actor: { kind: 'worker', id: workerId }, correlationId, causationId: eventId };
  }

  return { deliver, interrupt: () => stop.abort() };
}

const originOf = (url: string): string => (URL.canParse(url) ? new URL(url).origin : url);
