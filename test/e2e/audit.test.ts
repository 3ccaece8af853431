import { expect, onTestFinished, test } from 'vitest';
import { eventually } from '../support/waiting.ts';
import { startWebhookReceiver } from '../support/webhook-receiver.ts';
import { anId, anInstant, describeContract, PATIENCE_MS } from './seed-contract/contract.ts';

interface EventData {
  readonly type: string;
  readonly revision: number;
  readonly occurredAt: string;
  readonly actor: { readonly kind: string; readonly id: string };
  readonly data: Readonly<Record<string, unknown>>;
}

const attempt = ['JobStarted', 'JobLogged', 'JobAttemptFailed'];
const everything = [
  'JobCreated',
  ...attempt,
  ...attempt,
  ...['JobStarted', 'JobLogged', 'JobFailed'],
  ...['WebhookAttempted', 'WebhookAttempted'],
];

describeContract('The audit of a job', (contract) => {
  contract.special(
    'has everything that its run has left, in order, and shows the job at every step',
    async () => {
      const receiver = await startWebhookReceiver((n) => ({ status: n === 1 ? 500 : 200 }));
      onTestFinished(() => receiver.close());
      const user = await contract.newUser();
      const { id } = await contract.submit(user, {
        type: 'fail',
        payload: { n: 1 },
        webhookUrl: receiver.url,
      });
      const get = (route: string) => contract.call('GET', route, { headers: { 'x-api-key': user.apiKey } });

      const seen: EventData[] = [];
      // A client that polls, two at a time, while all of this happens.
      let cursor = '';
      await eventually(async () => {
        const { status, body } = await get(`/jobs/${id}/events?limit=2${cursor}`);
        expect(status).toBe(200);
        seen.push(...(body.data as EventData[]));
        cursor = `&cursor=${(body.meta as { nextCursor: string }).nextCursor}`;
        return seen.length >= everything.length;
      }, PATIENCE_MS);

      const whole = (await get(`/jobs/${id}/events`)).body.data as EventData[];
      expect(whole.map(({ type }) => type)).toEqual(everything);
      const named = (list: readonly EventData[]): string[] =>
        list.map((event) => JSON.stringify(event)).sort();
      expect(named(seen)).toEqual(named(whole));
      expect(whole[0]).toMatchObject({
        id: anId,
        occurredAt: anInstant,
        actor: { kind: 'user', id: user.id },
      });
      expect(whole[1]?.actor).toEqual({ kind: 'worker', id: whole[1]?.data['workerId'] });
      expect(whole.at(-1)?.data).toMatchObject({
        url: receiver.url,
        attempt: 2,
        statusCode: 200,
        success: true,
      });
      expect(
        new Set(whole.map((event) => (event as unknown as { correlationId: string }).correlationId)).size,
      ).toBe(1);

      const own = whole.filter(({ type }) => type.startsWith('Job') && type !== 'JobLogged');
      const statuses: Readonly<Record<string, string>> = {
        JobStarted: 'PROCESSING',
        JobFailed: 'FAILED',
      };
      for (const { type, revision, occurredAt } of own) {
        const { status, headers, body } = await get(`/jobs/${id}?revision=${revision}`);
        expect([status, headers.get('etag')]).toEqual([200, `"${revision}"`]);
        expect(body.data).toMatchObject({ id, status: statuses[type] ?? 'PENDING', updatedAt: occurredAt });
      }
      const last = own.at(-1)!;
      const now = await get(`/jobs/${id}`);
      expect((await get(`/jobs/${id}?at=${last.occurredAt}`)).body.data).toEqual(now.body.data);
    },
  );

  test('is for its owner alone', async () => {
    const [owner, stranger] = [await contract.newUser(), await contract.newUser()];
    const { id } = await contract.submit(owner);
    for (const suffix of ['/events', '?revision=0', '?at=2999-01-01T00:00:00Z']) {
      const call = (token: string) => contract.call('GET', `/jobs/${id}${suffix}`, { token });
      expect((await call(owner.accessToken)).status).toBe(200);
      const refused = await call(stranger.accessToken);
      expect([refused.status, refused.body]).toEqual([404, { success: false, message: 'Job not found' }]);
    }
  });
});
