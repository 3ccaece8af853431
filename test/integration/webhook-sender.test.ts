import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import type { RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { NothingToRedeliverError, WebhookUnderWayError } from '../../src/commands/webhook-decider.ts';
import { JobNotFoundError } from '../../src/commands/job-decider.ts';
import { createEgressClient } from '../../src/egress/egress-client.ts';
import { UnavailableError } from '../../src/errors.ts';
import { commands } from '../support/job-spec.ts';
import { createGate } from '../support/waiting.ts';
import {
  createWebhookWorkplace,
  isVerified,
  receiving,
  SERVICE_SECRET,
  webhookItem,
} from '../support/webhooks.ts';

const done = { done: true };

async function serving(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
}

describe('an attempt', () => {
  test('posts the signed body and records what it sent', async () => {
    const work = await createWebhookWorkplace();
    const receiver = await receiving();
    const job = await work.endedJob(receiver.url, commands.complete(1, { result: { ü: '\u2028 😀' } }));
    expect(await work.sender().deliver(webhookItem(job, 1))).toEqual(done);

    const [delivery] = receiver.deliveries;
    expect(JSON.parse(delivery!.body)).toEqual({
      jobId: job.id,
      type: 'send-email',
      status: 'DONE',
      result: { ü: '\u2028 😀' },
      timestamp: job.updatedAt,
    });
    const hmac = createHmac('sha256', SERVICE_SECRET).update(delivery!.body).digest('hex');
    expect(delivery!.headers).toMatchObject({
      'content-type': 'application/json',
      'user-agent': 'Asyncly-Webhook/1.0',
      'x-asyncly-attempt': '1',
      'x-asyncly-signature': `sha256=${hmac}`,
      'webhook-id': `${job.id}-1`,
    });
    const { secret } = (await work.secrets.present(job.userId))!;
    expect(isVerified(delivery!, secret)).toBe(true);
    expect(isVerified({ ...delivery!, body: `${delivery!.body} ` }, secret)).toBe(false);
    const sent = { url: receiver.url, body: delivery!.body, nextAttemptAt: null };
    expect(await work.attempts(job)).toMatchObject([
      { ...sent, attempt: 1, statusCode: 200, success: true, error: null },
    ]);
  });

  test.each<[string, RequestListener, object]>([
    [
      'an error',
      (_req, res) => res.writeHead(500, 'My Own Words').end(),
      { statusCode: 500, error: 'Internal Server Error' },
    ],
    [
      'a status without a text',
      (_req, res) => res.writeHead(599).end(),
      { statusCode: 599, error: 'HTTP 599' },
    ],
    [
      'a redirect',
      (_req, res) => res.writeHead(302, { location: '/' }).end(),
      { statusCode: 302, error: 'Found' },
    ],
    ['no answer', () => undefined, { statusCode: null, error: 'Timed out after 300 ms' }],
    ['no end', (_req, res) => void res.write('x'), { statusCode: null, error: 'Timed out after 300 ms' }],
  ])('that meets %s is a failure and comes again', async (_, listener, expected) => {
    const work = await createWebhookWorkplace();
    let requests = 0;
    const url = await serving((req, res) => {
      requests++;
      listener(req, res);
    });
    const job = await work.endedJob(url);
    expect(await work.sender({ timeoutMs: 300 }).deliver(webhookItem(job, 1))).toEqual(done);
    expect(await work.attempts(job)).toMatchObject([{ attempt: 1, success: false, ...expected }]);
    expect((await work.attempts(job))[0]?.nextAttemptAt).not.toBeNull();
    expect(requests).toBe(1);
  });

  test('that meets nobody says so without an address', async () => {
    const work = await createWebhookWorkplace();
    const receiver = await receiving();
    const job = await work.endedJob(receiver.url);
    await receiver.close();
    await work.sender().deliver(webhookItem(job, 1));
    expect(await work.attempts(job)).toMatchObject([{ statusCode: null, error: 'connect ECONNREFUSED' }]);
  });

  test('succeeds with any 2xx, however long the answer goes on', async () => {
    const work = await createWebhookWorkplace();
    const hungUp = createGate();
    const url = await serving((_req, res) => {
      res.writeHead(202).once('close', () => hungUp.open());
      const more = (): void => {
        while (!res.destroyed && res.write('x'.repeat(50_000)));
      };
      res.on('drain', more);
      more();
    });
    const job = await work.endedJob(url);
    await work.sender().deliver(webhookItem(job, 1));
    expect(await work.attempts(job)).toMatchObject([{ statusCode: 202, success: true, error: null }]);
    await hungUp.opened;
  });

  test('to a destination that has become forbidden fails and sends nothing', async () => {
    const work = await createWebhookWorkplace();
    const receiver = await receiving();
    const job = await work.endedJob(receiver.url);
    const egress = createEgressClient({ allowPrivateNetworks: false });
    await work.sender({ egress }).deliver(webhookItem(job, 1));
    expect(await work.attempts(job)).toMatchObject([{ statusCode: null, error: 'Destination not allowed' }]);
    expect(receiver.deliveries).toEqual([]);
  });
});

describe('a series of attempts', () => {
  test('sends the same bytes with the same id each time, then ends with a success', async () => {
    const work = await createWebhookWorkplace();
    const receiver = await receiving((n) => ({ status: n < 3 ? 500 : 200 }));
    const job = await work.endedJob(receiver.url);
    const sender = work.sender();
    for (const attempt of [1, 2, 3, 4]) await sender.deliver(webhookItem(job, attempt));
    expect((await work.attempts(job)).map(({ attempt, success }) => [attempt, success])).toEqual([
      [1, false],
      [2, false],
      [3, true],
    ]);
    const { deliveries } = receiver;
    expect(deliveries.map(({ headers }) => headers['x-asyncly-attempt'])).toEqual(['1', '2', '3']);
    expect(new Set(deliveries.map(({ body }) => body)).size).toBe(1);
    expect(new Set(deliveries.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
  });

  test('waits for its time: an entry that comes early is given back', async () => {
    const work = await createWebhookWorkplace();
    const receiver = await receiving(() => ({ status: 500 }));
    const job = await work.endedJob(receiver.url);
    const sender = work.sender({ backoffMs: 60_000 });
    await sender.deliver(webhookItem(job, 1));
    expect(await sender.deliver(webhookItem(job, 2))).toMatchObject({ done: false });
    expect(receiver.deliveries).toHaveLength(1);
  });

  test('records each attempt once, however often its entry is handed out', async () => {
    const work = await createWebhookWorkplace();
    const receiver = await receiving();
    const job = await work.endedJob(receiver.url);
    const [one, other] = [work.sender(), work.sender()];
    const entries = [one, other, one, other].map((sender) => sender.deliver(webhookItem(job, 1)));
    expect(await Promise.all(entries)).toEqual([done, done, done, done]);
    expect(await work.attempts(job)).toHaveLength(1);
    const posted = receiver.deliveries.length;
    await one.deliver(webhookItem(job, 1));
    expect(receiver.deliveries).toHaveLength(posted);
  });

  test('repeats a POST that could not be recorded, with the same id and attempt', async () => {
    const work = await createWebhookWorkplace();
    const receiver = await receiving();
    const job = await work.endedJob(receiver.url);
    const crashing = work.sender({ webhooks: () => Promise.reject(new Error('the process dies here')) });
    await expect(crashing.deliver(webhookItem(job, 1))).rejects.toThrow('the process dies here');
    expect(await work.attempts(job)).toEqual([]);
    await work.sender().deliver(webhookItem(job, 1));
    expect(await work.attempts(job)).toHaveLength(1);
    const [first, second] = receiver.deliveries;
    for (const name of ['webhook-id', 'x-asyncly-attempt', 'x-asyncly-signature'])
      expect(second?.headers[name]).toBe(first?.headers[name]);
  });

  test('is recorded once when the answer of the event store is lost', async () => {
    const work = await createWebhookWorkplace();
    const receiver = await receiving();
    const job = await work.endedJob(receiver.url);
    let lost = 0;
    const losing = work.sender({
      webhooks: async (...command) => {
        const outcome = await work.handleWebhook(...command);
        if (lost++ === 0) throw new UnavailableError('event store', 'The answer is lost');
        return outcome;
      },
    });
    expect(await losing.deliver(webhookItem(job, 1))).toEqual(done);
    expect(await work.attempts(job)).toHaveLength(1);
    expect(receiver.deliveries).toHaveLength(1);
  });

  test('goes on for its round when the job is retried', async () => {
    const work = await createWebhookWorkplace();
    const receiver = await receiving((n) => ({ status: n === 1 ? 500 : 200 }));
    const job = await work.endedJob(receiver.url, commands.fail(1, { retryable: false }));
    const sender = work.sender();
    await sender.deliver(webhookItem(job, 1));
    await work.retry(job);
    await sender.deliver(webhookItem(job, 2));
    expect((await work.attempts(job)).map(({ success }) => success)).toEqual([false, true]);
    expect(JSON.parse(receiver.deliveries[1]!.body)).toMatchObject({ status: 'FAILED', error: 'boom' });
  });
});

describe('a worker', () => {
  test('that stops gives back what is under way, and records nothing of it', async () => {
    const work = await createWebhookWorkplace();
    const arrived = createGate();
    const url = await serving(() => arrived.open());
    const job = await work.endedJob(url);
    const sender = work.sender();
    const delivering = sender.deliver(webhookItem(job, 1));
    await arrived.opened;
    sender.interrupt();
    expect(await delivering).toEqual({ done: false, againInMs: 0 });
    expect(await sender.deliver(webhookItem(job, 1))).toEqual({ done: false, againInMs: 0 });
    expect(await work.attempts(job)).toEqual([]);
  });

  test('lets no receiver that hangs keep it from the others', async () => {
    const work = await createWebhookWorkplace();
    const arrived = createGate();
    const dead = await serving(() => arrived.open());
    const receiver = await receiving();
    const [slow, waiting, other] = [
      await work.endedJob(dead),
      await work.endedJob(dead),
      await work.endedJob(receiver.url),
    ];
    const sender = work.sender({ limits: { total: 2, perKey: 1 } });
    const hanging = sender.deliver(webhookItem(slow, 1));
    await arrived.opened;
    expect(await sender.deliver(webhookItem(waiting, 1))).toMatchObject({ done: false });
    expect(await sender.deliver(webhookItem(other, 1))).toEqual(done);
    expect(receiver.deliveries).toHaveLength(1);
    sender.interrupt();
    await hanging;
  });

  test('drops entries of ends that have no webhook, and of jobs that do not exist', async () => {
    const work = await createWebhookWorkplace();
    const receiver = await receiving();
    const cancelled = await work.endedJob(receiver.url);
    expect(await work.sender().deliver(webhookItem(cancelled, 1, 2))).toEqual(done);
    expect(await work.sender().deliver(webhookItem({ ...cancelled, id: cancelled.userId }, 1))).toEqual(done);
    expect(receiver.deliveries).toEqual([]);
  });
});

describe('a redelivery', () => {
  test('sends the same again under the same id, and goes on counting', async () => {
    const work = await createWebhookWorkplace();
    const receiver = await receiving();
    const job = await work.endedJob(receiver.url);
    const sender = work.sender();
    await sender.deliver(webhookItem(job, 1));
    expect(await work.redeliver(job)).toEqual({ round: 1, attempt: 2 });
    await expect(work.redeliver(job)).rejects.toThrow(WebhookUnderWayError);
    await sender.deliver(webhookItem(job, 2));
    const [first, second] = receiver.deliveries;
    expect(second?.body).toBe(first?.body);
    expect(second?.headers).toMatchObject({
      'webhook-id': first?.headers['webhook-id'],
      'x-asyncly-attempt': '2',
    });
  });

  test('reaches an earlier round too, by default the latest that has ended', async () => {
    const work = await createWebhookWorkplace();
    const receiver = await receiving();
    const job = await work.endedJob(receiver.url, commands.fail(1, { retryable: false }));
    await work.sender().deliver(webhookItem(job, 1));
    await work.retry(job);
    expect(await work.redeliver(job)).toEqual({ round: 1, attempt: 2 });
    await expect(work.redeliver(job, 2)).rejects.toThrow(NothingToRedeliverError);
  });

  test("is not for another user's job", async () => {
    const work = await createWebhookWorkplace();
    const receiver = await receiving();
    const job = await work.endedJob(receiver.url);
    await work.sender().deliver(webhookItem(job, 1));
    const other = { ...job, userId: await work.newUser() };
    await expect(work.redeliver(other)).rejects.toThrow(JobNotFoundError);
  });
});

describe('the secret of a user', () => {
  test('signs beside its successor after a rotation', async () => {
    const work = await createWebhookWorkplace();
    const receiver = await receiving();
    const userId = await work.newUser();
    const before = (await work.secrets.present(userId))!;
    const after = (await work.secrets.rotate(userId))!;
    const job = await work.endedJob(receiver.url, commands.complete(1), userId);
    await work.sender().deliver(webhookItem(job, 1));
    const [delivery] = receiver.deliveries;
    expect(isVerified(delivery!, before.secret)).toBe(true);
    expect(isVerified(delivery!, after.secret)).toBe(true);
    expect(before.previousExpiresAt).toBeNull();
    expect(Date.parse(after.previousExpiresAt!)).toBe(Date.parse(after.createdAt) + 24 * 3_600_000);
  });

  test('no longer signs when the overlap is over', async () => {
    const work = await createWebhookWorkplace();
    const userId = await work.newUser();
    await work.secrets.present(userId);
    await work.secrets.rotate(userId);
    await work.database.query('UPDATE webhook_secrets SET expires_at = now() WHERE expires_at IS NOT NULL');
    expect(await work.secrets.signingKeys(userId)).toHaveLength(1);
    expect(await work.secrets.present(userId)).toMatchObject({ previousExpiresAt: null });
  });

  test('is made once, however many ask for it first, and rotations are bounded', async () => {
    const work = await createWebhookWorkplace();
    const userId = await work.newUser();
    const asked = await Promise.all(Array.from({ length: 8 }, () => work.secrets.present(userId)));
    expect(new Set(asked.map((secret) => secret?.secret)).size).toBe(1);
    expect(asked[0]?.secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    await Promise.all(Array.from({ length: 8 }, () => work.secrets.rotate(userId)));
    expect(await work.secrets.signingKeys(userId)).toHaveLength(5);
  });

  test('is not there for a user who is not', async () => {
    const work = await createWebhookWorkplace();
    const nobody = '0196e7d2-0000-7000-8000-0000000000ff';
    expect(await work.secrets.present(nobody)).toBeNull();
    expect(await work.secrets.signingKeys(nobody)).toEqual([]);
  });
});
