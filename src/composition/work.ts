import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { createWebhookCommandHandler } from '../commands/webhook-commands.ts';
import { createEgressClient } from '../egress/egress-client.ts';
import { createWebhookSecrets } from '../identity/webhook-secrets.ts';
import { startDispatcher } from '../workers/dispatcher.ts';
import type { HandlerRegistry } from '../workers/handler.ts';
import { startRunner } from '../workers/runner.ts';
import { createWebhookSender, slotLimits } from '../workers/webhook-sender.ts';
import type { WebhookSender } from '../workers/webhook-sender.ts';
import type { WorkQueue } from '../workers/work-queue.ts';
import type { Core } from './core.ts';

/** The `dispatcher` role. */
export function openDispatcher(core: Core, queue: WorkQueue): void {
  const dispatcher = startDispatcher({ ...core, queue, commands: core.handleJob });
  core.releasers.push('dispatcher', () => dispatcher.stop());
}

/** The `worker` role. */
export async function openWorker(core: Core, queue: WorkQueue, handlers: HandlerRegistry): Promise<void> {
  const { config, releasers } = core;
  const workerId = `${hostname()}-${process.pid}-${randomUUID()}`;
  const runner = await startRunner({
    ...core,
    queue,
    handlers,
    webhooks: openWebhookSender(core, workerId),
    commands: core.handleJob,
    workerId,
    concurrency: config.WORKER_CONCURRENCY,
    maxAttempts: config.JOB_MAX_ATTEMPTS,
    backoffMs: config.JOB_BACKOFF_MS,
    shutdownGraceMs: config.SHUTDOWN_GRACE_MS,
  });
  releasers.push('worker', () => runner.stop());
}

function openWebhookSender(core: Core, workerId: string): WebhookSender {
  const { config, releasers, database, store, logger } = core;
  const egress = createEgressClient({ allowPrivateNetworks: config.WEBHOOK_ALLOW_PRIVATE_NETWORKS });
  releasers.push('egress', () => egress.close());
  return createWebhookSender({
    store,
    webhooks: createWebhookCommandHandler(store),
    egress,
    secrets: createWebhookSecrets(database),
    webhookKey: config.webhookKey,
    backoffMs: config.WEBHOOK_BACKOFF_MS,
    timeoutMs: config.WEBHOOK_TIMEOUT_MS,
    limits: slotLimits(config.WORKER_CONCURRENCY),
    workerId,
    logger,
  });
}
