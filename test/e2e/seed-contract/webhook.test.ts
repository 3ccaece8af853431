import { createHmac, randomUUID } from 'node:crypto';
import { afterAll, expect, test } from 'vitest';
import { testSecrets } from '../../support/service.ts';
import { eventually } from '../../support/waiting.ts';
import { startWebhookReceiver } from '../../support/webhook-receiver.ts';
import type { Delivery, ReceiverAnswer, WebhookReceiver } from '../../support/webhook-receiver.ts';
import {
  anId,
  anInstant,
  anyText,
  describeContract,
  EMAIL_JOB,
  expectError,
  PATIENCE_MS,
} from './contract.ts';
import type { Contract } from './contract.ts';

interface WebhookLog {
  readonly attempt: number;
  readonly createdAt: string;
}

const receivers: WebhookReceiver[] = [];
afterAll(() => Promise.all(receivers.map((started) => started.close())));

async function receiver(answer?: (n: number) => ReceiverAnswer) {
  const started = await startWebhookReceiver(answer);
  receivers.push(started);
  return started;
}

/** Runs a job whose webhook is answered like that, until `times` deliveries have come. */
async function deliver(
  contract: Contract,
  options: { job?: object; answer?: (n: number) => ReceiverAnswer; times?: number } = {},
) {
  const { job = EMAIL_JOB, answer, times = 1 } = options;
  const target = await receiver(answer);
  const user = await contract.newUser();
  const { id } = await contract.submit(user, { ...job, webhookUrl: target.url });
  await eventually(() => target.deliveries.length >= times, PATIENCE_MS);
  return { target, user, id, delivery: target.deliveries[0]! };
}

function webhookLogs(contract: Contract, token: string, id: string) {
  return contract.call('GET', `/jobs/${id}/webhook-logs`, { token });
}

function signatureOf({ body }: Delivery): string {
  return `sha256=${createHmac('sha256', testSecrets.WEBHOOK_SECRET).update(body).digest('hex')}`;
}

describeContract('Webhook', (contract) => {
  contract.special('When a job completes, Asyncly sends an HTTP POST request to webhookUrl', async () => {
    const { delivery, target } = await deliver(contract);
    expect(delivery.method).toBe('POST');
    expect(delivery.path).toBe(new URL(target.url).pathname);
  });

  contract.special('Payload', async () => {
    const { delivery, id, user } = await deliver(contract);
    expect(JSON.parse(delivery.body)).toMatchObject({
      jobId: id,
      type: 'send-email',
      status: 'DONE',
      result: { sent: true, timestamp: anInstant },
      timestamp: anInstant,
    });
    const job = await contract.job(user, id);
    expect(JSON.parse(delivery.body)).toMatchObject({ status: job.status, result: job.result });
  });

  contract.special('Payload: when a job fails', async () => {
    const { delivery, id } = await deliver(contract, { job: { type: 'fail', payload: {} } });
    expect(JSON.parse(delivery.body)).toMatchObject({
      jobId: id,
      type: 'fail',
      status: 'FAILED',
      result: null,
      timestamp: anInstant,
    });
  });

  contract.special('Headers', async () => {
    const { headers } = (await deliver(contract)).delivery;
    expect(headers['content-type']).toBe('application/json');
    expect(headers['x-asyncly-signature']).toMatch(/^sha256=[0-9a-f]{64}$/);
    expect(headers['x-asyncly-attempt']).toBe('1');
    expect(headers['user-agent']).toBe('Asyncly-Webhook/1.0');
  });

  contract.special(
    'Signature Verification: HMAC-SHA-256 of the bytes sent, keyed with WEBHOOK_SECRET',
    async () => {
      const job = { type: 'an\u2028odd "type" 😀', payload: { n: 1 } };
      const { delivery } = await deliver(contract, { job });
      expect(delivery.headers['x-asyncly-signature']).toBe(signatureOf(delivery));
    },
  );
});

describeContract('GET /jobs/:id/webhook-logs', (contract) => {
  contract.special('Response 200 OK — Successful delivery', async () => {
    const { user, id, target, delivery } = await deliver(contract);
    await contract.entries(user, `/jobs/${id}/webhook-logs`, 1);
    const { status, body } = await webhookLogs(contract, user.accessToken, id);
    expect(status).toBe(200);
    expect(body).toMatchObject({
      success: true,
      message: 'Webhook logs retrieved successfully',
      data: [
        {
          id: anId,
          jobId: id,
          url: target.url,
          payload: {
            jobId: id,
            type: 'send-email',
            status: 'DONE',
            result: { sent: true },
            timestamp: anInstant,
          },
          statusCode: 200,
          success: true,
          attempt: 1,
          error: null,
          createdAt: anInstant,
        },
      ],
    });
    const [log] = body.data as [{ payload: unknown }];
    expect(log.payload).toEqual(JSON.parse(delivery.body));
  });

  test('a job without a webhook has no deliveries', async () => {
    const user = await contract.newUser();
    const { id } = await contract.submit(user);
    await contract.jobIn('DONE', user, id);
    const { status, body } = await webhookLogs(contract, user.accessToken, id);
    expect(status).toBe(200);
    expect(body).toMatchObject({
      success: true,
      message: 'Webhook logs retrieved successfully',
      data: [],
    });
  });

  test('Error Codes: 404 not found or not owned by current user', async () => {
    const [user, other] = [await contract.newUser(), await contract.newUser()];
    const { id } = await contract.submit(other);
    for (const unknown of ['cmpc20vzh0000x4ubhy1vc7so', randomUUID(), id]) {
      expectError(await webhookLogs(contract, user.accessToken, unknown), 404, 'Job not found');
    }
  });
});

/** The document's own delays: a wait is never shorter; how much longer it is depends on the machine. */
const SEED_DELAYS = { WEBHOOK_BACKOFF_MS: '' };

describeContract(
  'Retry Policy',
  (contract) => {
    contract.special(
      'GET /jobs/:id/webhook-logs › Response 200 OK — Failed delivery with retries',
      async () => {
        const answers: Record<number, ReceiverAnswer> = { 1: { status: 500, then: 'hang-up' } };
        const { user, id, target } = await deliver(contract, {
          answer: (n) => answers[n] ?? { status: 200 },
        });
        const route = `/jobs/${id}/webhook-logs`;
        await contract.entries(user, route, 2);
        await target.listenAgain();
        const logs = await contract.entries(user, route, 3);
        expect(logs).toMatchObject([
          {
            id: anId,
            attempt: 1,
            statusCode: 500,
            success: false,
            error: 'Internal Server Error',
            createdAt: anInstant,
          },
          {
            id: anId,
            attempt: 2,
            statusCode: null,
            success: false,
            error: 'connect ECONNREFUSED',
            createdAt: anInstant,
          },
          { id: anId, attempt: 3, statusCode: 200, success: true, error: null, createdAt: anInstant },
        ]);
        expect(target.deliveries.map(({ headers }) => headers['x-asyncly-attempt'])).toEqual(['1', '3']);
      },
    );

    contract.special('Attempt 1, 2 seconds, attempt 2, 4 seconds, attempt 3', async () => {
      const { user, id, target } = await deliver(contract, { answer: () => ({ status: 503 }), times: 3 });
      const logs = await contract.entries<WebhookLog>(user, `/jobs/${id}/webhook-logs`, 3);
      expect(logs.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
      const [first, second, third] = logs.map(({ createdAt }) => Date.parse(createdAt));
      const { updatedAt } = await contract.job(user, id);
      expect(first! - Date.parse(updatedAt)).toBeGreaterThanOrEqual(0);
      expect(second! - first!).toBeGreaterThanOrEqual(1_900);
      expect(third! - second!).toBeGreaterThanOrEqual(3_900);

      expect(target.deliveries.map(({ headers }) => headers['x-asyncly-attempt'])).toEqual(['1', '2', '3']);
      for (const delivery of target.deliveries) {
        expect(delivery.headers['x-asyncly-signature']).toBe(signatureOf(delivery));
      }
    });
  },
  SEED_DELAYS,
  { sideBySide: true },
);

describeContract('Retry Policy: three attempts', (contract) => {
  contract.special('none follows the third', async () => {
    const { user, id, target } = await deliver(contract, { answer: () => ({ status: 404 }), times: 3 });
    const route = `/jobs/${id}/webhook-logs`;
    const logs = await contract.entries(user, route, 3);
    expect(logs).toMatchObject(
      [1, 2, 3].map((attempt) => ({ attempt, statusCode: 404, error: 'Not Found' })),
    );
    // A later job's webhook that fails three times has outlived any fourth attempt of this one.
    const later = await deliver(contract, { answer: () => ({ status: 500 }), times: 3 });
    await contract.entries(later.user, `/jobs/${later.id}/webhook-logs`, 3);
    expect(target.deliveries).toHaveLength(3);
    expect(await contract.entries(user, route, 3)).toHaveLength(3);
    expect((await contract.job(user, id)).status).toBe('DONE');
  });

  contract.special('none follows a success', async () => {
    const { user, id, target } = await deliver(contract, {
      answer: (n) => ({ status: n === 1 ? 502 : 204 }),
      times: 2,
    });
    const logs = await contract.entries(user, `/jobs/${id}/webhook-logs`, 2);
    expect(logs).toMatchObject([
      { attempt: 1, statusCode: 502, success: false, error: anyText },
      { attempt: 2, statusCode: 204, success: true, error: null },
    ]);
    const later = await deliver(contract, { answer: () => ({ status: 500 }), times: 3 });
    await contract.entries(later.user, `/jobs/${later.id}/webhook-logs`, 3);
    expect(target.deliveries).toHaveLength(2);
  });
});
