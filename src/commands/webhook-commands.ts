import { isWebhookEvent } from '../events/codec.ts';
import type { EventStore } from '../events/event-store.ts';
import { isTerminal } from '../events/job.ts';
import type { Job } from '../events/job.ts';
import { evolveWebhook, webhookId, webhookStream } from '../events/webhook.ts';
import type { Webhook, WebhookEvent } from '../events/webhook.ts';
import { createCommandHandler, loadState } from './command-handler.ts';
import type { Aggregate, CommandContext, HandleCommand } from './command-handler.ts';
import { jobSteps, loadJob } from './handle-command.ts';
import { JobNotFoundError } from './job-decider.ts';
import { decideWebhook, NothingToRedeliverError } from './webhook-decider.ts';
import type { WebhookCommand } from './webhook-decider.ts';

export type HandleWebhookCommand = HandleCommand<Webhook, WebhookEvent, WebhookCommand>;

const webhookAggregate: Aggregate<Webhook, WebhookEvent, WebhookCommand> = {
  stream: webhookStream,
  owns: isWebhookEvent,
  evolve: evolveWebhook,
  decide: decideWebhook,
};

/** Carries out commands on webhooks, by `webhookId`; see `HandleCommand`. */
export function createWebhookCommandHandler(store: EventStore, clock?: () => number): HandleWebhookCommand {
  return createCommandHandler(webhookAggregate, store, clock);
}

/** A webhook folded from its stream; null before its first attempt was recorded. @throws UndecodableEventError */
export function loadWebhook(store: EventStore, id: string): Promise<Webhook | null> {
  return loadState(webhookAggregate, store, id);
}

/** How a round of a job ended. */
export interface RoundEnd {
  /** The job as its end left it, whatever came later. */
  readonly job: Job;
  /** Whether the end is to be delivered to the job's `webhookUrl`. */
  readonly webhook: boolean;
  readonly eventId: string;
  /** Of the request that created the job. */
  readonly correlationId: string;
}

/**
 * The end of a job's round, or of the latest that has ended.
 * @param round counts from 1
 * @returns null when there is no such job, or the round has not ended
 */
export async function loadRoundEnd(
  store: EventStore,
  jobId: string,
  round: number | 'latest',
): Promise<RoundEnd | null> {
  let correlationId: string | null = null;
  let end: RoundEnd | null = null;
  for await (const { state: job, event, recorded } of jobSteps(store, jobId)) {
    correlationId ??= recorded.metadata.correlationId;
    if (!isTerminal(job.status) || !('webhook' in event.data)) continue;
    const found = { job, webhook: event.data.webhook, eventId: recorded.id, correlationId };
    if (job.round === round) return found;
    if (round === 'latest') end = found;
  }
  return end;
}

export interface RedeliveryRequest {
  readonly jobId: string;
  /** The owner as the caller claims. */
  readonly userId: string;
  /** Which round's end to tell of; null means the latest that has ended. */
  readonly round: number | null;
}

/**
 * Begins a new series of attempts for a webhook.
 * @returns the round, and the number of the attempt to come
 * @throws JobNotFoundError, NothingToRedeliverError, WebhookUnderWayError, and what the event store throws
 */
export type RequestRedelivery = (
  request: RedeliveryRequest,
  context: CommandContext,
) => Promise<{ readonly round: number; readonly attempt: number }>;

export function createRedelivery(store: EventStore, handle: HandleWebhookCommand): RequestRedelivery {
  return async ({ jobId, userId, round }, context) => {
    const job = await loadJob(store, jobId);
    if (job?.userId !== userId) throw new JobNotFoundError();
    const end = await loadRoundEnd(store, jobId, round ?? 'latest');
    if (end === null) throw new NothingToRedeliverError('There is no end of the job to tell of');
    const id = webhookId(jobId, end.job.round);
    const { state } = await handle(id, { type: 'RequestRedelivery', wanted: end.webhook }, context);
    return { round: state.round, attempt: state.attempts + 1 };
  };
}
