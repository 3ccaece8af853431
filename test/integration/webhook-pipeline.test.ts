import { createSecretKey, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { createWebhookCommandHandler, loadWebhook } from '../../src/commands/webhook-commands.ts';
import { createEgressClient } from '../../src/egress/egress-client.ts';
import { webhookId } from '../../src/events/webhook.ts';
import { createWebhookSender } from '../../src/workers/webhook-sender.ts';
import { silentLogger } from '../support/database.ts';
import { eventually } from '../support/waiting.ts';
import { receiving, SERVICE_SECRET } from '../support/webhooks.ts';
import { createWorkplace } from '../support/work.ts';

async function createPipeline() {
  const work = await createWorkplace();
  const { store } = work;
  const egress = createEgressClient({ allowPrivateNetworks: true });
  onTestFinished(() => egress.close());
  const webhooks = () =>
    createWebhookSender({
      store,
      webhooks: createWebhookCommandHandler(store),
      egress,
      secrets: { signingKeys: () => Promise.resolve([Buffer.alloc(32, 1)]) },
      webhookKey: createSecretKey(SERVICE_SECRET, 'utf8'),
      backoffMs: 100,
      timeoutMs: 60_000,
      limits: { total: 4, perKey: 4 },
      workerId: `worker-${randomUUID()}`,
      logger: silentLogger,
    });
  const quick = { default: { run: () => Promise.resolve({ sent: true }) } };
  return {
    ...work,
    /** A worker process with both its parts. */
    start: () => work.work(quick, { webhooks: webhooks() }),
    openWork: async () => (await work.database.query('SELECT kind FROM open_work')).rows,
  };
}

/** A receiver that answers its n-th delivery with the n-th status; null never answers. */
async function answeringInTurn(statuses: readonly (number | null)[]) {
  const deliveries: { headers: IncomingHttpHeaders; body: string }[] = [];
  const server = createServer((req, res) => {
    void text(req).then((body) => {
      const status = statuses[deliveries.push({ headers: req.headers, body }) - 1] ?? null;
      if (status !== null) res.writeHead(status).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, deliveries };
}

test('a stop and start between and in the middle of attempts loses none, and no job waits for it', async () => {
  const { submit, dispatch, start, store, openWork } = await createPipeline();
  // The first attempt fails, the second gets no answer, the one that repeats it does.
  const receiver = await answeringInTurn([500, null, 200]);
  dispatch();
  const first = await start();
  const jobId = await submit('quick', { webhookUrl: receiver.url, webhookEvents: ['DONE'] });
  await eventually(() => receiver.deliveries.length === 2);
  await first.stop();
  await start();
  const id = webhookId(jobId, 1);
  const webhook = await eventually(async () => {
    const state = await loadWebhook(store, id);
    return state?.delivered === true ? state : null;
  });
  expect(webhook).toMatchObject({ attempts: 2, next: null });
  expect(receiver.deliveries.map(({ headers }) => headers['x-asyncly-attempt'])).toEqual(['1', '2', '2']);
  expect(new Set(receiver.deliveries.map(({ headers }) => headers['webhook-id']))).toEqual(new Set([id]));
  expect(new Set(receiver.deliveries.map(({ body }) => body)).size).toBe(1);
  await eventually(async () => (await openWork()).length === 0);
});

test('a queue that loses everything loses no delivery', async () => {
  const { submit, dispatch, start, store, database, queue } = await createPipeline();
  const receiver = await receiving((n) => ({ status: n === 1 ? 500 : 200 }));
  // Nothing reaches this queue: what is delivered was put there by the reconciler.
  const deaf = { ...queue, add: () => Promise.resolve() };
  const dispatcher = dispatch({ queue: deaf, intervalMs: 60_000 });
  const jobId = await submit('quick', { webhookUrl: receiver.url, webhookEvents: ['DONE'] });
  await eventually(async () => (await database.query('SELECT FROM open_work')).rowCount === 1);
  await dispatcher.stop();
  dispatch({ intervalMs: 50, settledMs: 0 });
  await start();
  await eventually(async () => (await loadWebhook(store, webhookId(jobId, 1)))?.delivered);
  expect(receiver.deliveries).toHaveLength(2);
});
