import { createHmac, createSecretKey, randomUUID, timingSafeEqual } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { createJobCommandHandler } from '../../src/commands/handle-command.ts';
import { createRedelivery, createWebhookCommandHandler } from '../../src/commands/webhook-commands.ts';
import type { JobCommand } from '../../src/commands/job-decider.ts';
import { createEgressClient } from '../../src/egress/egress-client.ts';
import { decodeEvent } from '../../src/events/codec.ts';
import type { Job } from '../../src/events/job.ts';
import { webhookId, webhookStream } from '../../src/events/webhook.ts';
import { createIdentityStore } from '../../src/identity/identity-store.ts';
import { createWebhookSecrets } from '../../src/identity/webhook-secrets.ts';
import { newApiKey, sha256 } from '../../src/identity/tokens.ts';
import { createWebhookSender } from '../../src/workers/webhook-sender.ts';
import type { WebhookSenderOptions } from '../../src/workers/webhook-sender.ts';
import type { WorkItem } from '../../src/workers/work-queue.ts';
import { silentLogger } from './database.ts';
import { commands, NOW } from './job-spec.ts';
import { createTestStore } from './store.ts';
import { startWebhookReceiver } from './webhook-receiver.ts';
import type { Delivery, ReceiverAnswer } from './webhook-receiver.ts';

export const SERVICE_SECRET = 'the secret of the whole service';

/** An event store with users, ended jobs, and what delivers their webhooks; ended with the test. */
export async function createWebhookWorkplace() {
  const test = await createTestStore();
  const { database, store } = test;
  onTestFinished(() => test.drop());
  const handleJob = createJobCommandHandler(store);
  const handleWebhook = createWebhookCommandHandler(store);
  const secrets = createWebhookSecrets(database);
  const redeliver = createRedelivery(store, handleWebhook);

  async function newUser(): Promise<string> {
    const id = randomUUID();
    const user = { id, email: `${id}@example.com`, passwordHash: '', createdAt: new Date(NOW) };
    await createIdentityStore(database).addUser(user, sha256(newApiKey()));
    return id;
  }

  const contextOf = (userId: string) =>
    ({ actor: { kind: 'user', id: userId }, correlationId: 'request', causationId: 'request' }) as const;

  return {
    database,
    store,
    secrets,
    newUser,
    /** A job of a user that has been created with a webhook, started, and ended by a command. */
    async endedJob(webhookUrl: string, end: JobCommand = commands.complete(1), owner?: string): Promise<Job> {
      const [jobId, userId] = [randomUUID(), owner ?? (await newUser())];
      const context = contextOf(userId);
      await handleJob(jobId, { ...commands.create({ webhookUrl }), jobId, userId }, context);
      await handleJob(jobId, commands.start(1), context);
      return (await handleJob(jobId, end, context)).job;
    },
    retry: (job: Job) => handleJob(job.id, commands.retry({ userId: job.userId }), contextOf(job.userId)),
    redeliver: (job: Job, round: number | null = null) =>
      redeliver({ jobId: job.id, userId: job.userId, round }, contextOf(job.userId)),
    sender: (options: Partial<WebhookSenderOptions> = {}) =>
      createWebhookSender({
        store,
        webhooks: handleWebhook,
        egress: createEgressClient({ allowPrivateNetworks: true }),
        secrets,
        webhookKey: createSecretKey(SERVICE_SECRET, 'utf8'),
        backoffMs: 0,
        timeoutMs: 5_000,
        limits: { total: 10, perKey: 10 },
        workerId: 'worker-1',
        logger: silentLogger,
        ...options,
      }),
    handleWebhook,
    /** What was recorded of the attempts for a job's round, in order. */
    async attempts(job: Job, round = 1) {
      const recorded = await store.read(webhookStream(webhookId(job.id, round)));
      return recorded
        .map(decodeEvent)
        .flatMap((event) => (event.type === 'WebhookAttempted' ? [event.data] : []));
    },
  };
}

export const webhookItem = (job: Job, attempt: number, round = 1): WorkItem => ({
  kind: 'webhook',
  jobId: job.id,
  round,
  attempt,
});

/** A receiver that is closed with the test. */
export async function receiving(answer?: (n: number) => ReceiverAnswer) {
  const receiver = await startWebhookReceiver(answer);
  onTestFinished(() => receiver.close());
  return receiver;
}

/** Verification as the Standard Webhooks specification describes it: any of the signatures may match. */
export function isVerified({ headers, body }: Delivery, secret: string): boolean {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  const signed = `${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${body}`;
  const expected = createHmac('sha256', key).update(signed).digest();
  return String(headers['webhook-signature'])
    .split(' ')
    .map((signature) => signature.split(','))
    .filter(([version]) => version === 'v1')
    .map(([, signature]) => Buffer.from(signature ?? '', 'base64'))
    .some((given) => given.length === expected.length && timingSafeEqual(given, expected));
}
