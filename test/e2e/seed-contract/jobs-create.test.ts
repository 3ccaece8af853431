import { expect, test } from 'vitest';
import { anId, anInstant, describeContract, EMAIL_JOB, expectError } from './contract.ts';
import type { Contract } from './contract.ts';

/** Nothing runs here: jobs stay PENDING, and nobody is called at the document's example addresses. */
const NO_WORKER = { ROLES: 'api,projector,dispatcher' };

/** The document's address, or one that leads nowhere, where jobs do run. */
function webhookUrlFor({ configurable }: Contract): string {
  return configurable ? 'https://your-server.com/webhooks/asyncly' : 'https://asyncly.invalid/webhooks';
}

describeContract(
  'POST /jobs',
  (contract) => {
    test('Response 201 Created', async () => {
      const user = await contract.newUser();
      const webhookUrl = webhookUrlFor(contract);
      const { status, body } = await contract.call('POST', '/jobs', {
        token: user.accessToken,
        body: { ...EMAIL_JOB, webhookUrl },
      });
      expect(status).toBe(201);
      expect(body).toMatchObject({
        success: true,
        message: 'Job created successfully',
        data: {
          id: anId,
          userId: user.id,
          type: 'send-email',
          status: 'PENDING',
          payload: EMAIL_JOB.payload,
          result: null,
          webhookUrl,
          createdAt: anInstant,
          updatedAt: anInstant,
        },
      });
    });

    test('Request Body: webhookUrl is optional', async () => {
      expect(await contract.submit(await contract.newUser())).toMatchObject({ webhookUrl: null });
    });

    test('Request Body: type and payload are required', async () => {
      const { accessToken } = await contract.newUser();
      for (const [body, field] of [
        [{ payload: {} }, 'type'],
        [{ type: 'send-email' }, 'payload'],
        [{ type: 7, payload: {} }, 'type'],
        [{ type: 'send-email', payload: 'text' }, 'payload'],
        [{ ...EMAIL_JOB, webhookUrl: 'nowhere' }, 'webhookUrl'],
      ] as const) {
        const answer = await contract.call('POST', '/jobs', { token: accessToken, body });
        expectError(answer, 400, 'Validation error');
        expect(Object.keys(answer.body.errors!)).toEqual([field]);
      }
    });

    test('Response Headers', async () => {
      const { accessToken } = await contract.newUser();
      for (let used = 1; used <= 2; used++) {
        const { headers } = await contract.call('POST', '/jobs', { token: accessToken, body: EMAIL_JOB });
        expect(headers.get('x-ratelimit-limit')).toBe('10');
        expect(headers.get('x-ratelimit-remaining')).toBe(String(10 - used));
        expectSecondsOfAMinute(headers.get('x-ratelimit-reset'));
      }
    });

    test('Response 429 — Rate limit exceeded', async () => {
      const [user, other] = [await contract.newUser(), await contract.newUser()];
      for (let n = 1; n <= 10; n++) await contract.submit(user);

      const answer = await contract.call('POST', '/jobs', { token: user.accessToken, body: EMAIL_JOB });
      expect(answer.status).toBe(429);
      const { retryAfter } = answer.body;
      expectSecondsOfAMinute(retryAfter);
      expect(answer.body).toMatchObject({
        success: false,
        message: `Too many requests. You can submit a maximum of 10 jobs per minute. Try again in ${String(retryAfter)} seconds.`,
      });
      expect(retryAfter).toBeTypeOf('number');
      expect(answer.headers.get('x-ratelimit-limit')).toBe('10');
      expect(answer.headers.get('x-ratelimit-remaining')).toBe('0');
      expectSecondsOfAMinute(answer.headers.get('x-ratelimit-reset'));

      // "per user", and submissions only.
      expect(await contract.submit(other)).toMatchObject({ status: 'PENDING' });
      expect((await contract.call('GET', '/jobs', { token: user.accessToken })).status).toBe(200);
    });

    test('Response 401 — Missing or invalid token', async () => {
      for (const token of [undefined, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9...', '<accessToken>']) {
        const answer = await contract.call('POST', '/jobs', {
          ...(token !== undefined && { token }),
          body: EMAIL_JOB,
        });
        expectError(answer, 401, 'Access token required');
      }
    });
  },
  NO_WORKER,
);

function expectSecondsOfAMinute(value: unknown): void {
  expect(String(value)).toMatch(/^\d{1,2}$/);
  expect(Number(value)).toBeGreaterThanOrEqual(1);
  expect(Number(value)).toBeLessThanOrEqual(60);
}
