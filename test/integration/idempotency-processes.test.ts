import { expect, onTestFinished, test } from 'vitest';
import { httpClient } from '../support/http-client.ts';
import { startEventStoreDouble } from '../support/eventstoredb/server.ts';
import { startService } from '../support/service.ts';
import type { ServiceSettings } from '../support/service.ts';
import { startTarget } from '../support/target.ts';

const job = { type: 'send-email', payload: { to: 'recipient@example.com' } };

async function onEventStoreDb(): Promise<ServiceSettings> {
  const double = await startEventStoreDouble();
  onTestFinished(() => double.stop());
  return { EVENTSTORE_URL: double.url };
}

// An api makes one append of equal submissions that are under way in it together. Between two, the event store alone decides.
test.each([
  ['Postgres', () => Promise.resolve({})],
  ['EventStoreDB', onEventStoreDb],
])('200 submissions at once to two apis with one key make one job in %s', async (_, events) => {
  const settings = { ...(await events()), ROLES: 'api,projector', RATE_LIMIT_JOBS_PER_MINUTE: '1000' };
  const one = await startTarget(settings);
  onTestFinished(() => one.stop());
  const other = await startService({ ...settings, DATABASE_URL: one.databaseUrl! });
  onTestFinished(() => other.stop());
  const { apiKey: token } = await one.newUser();
  const apis = [one.call, httpClient(other.base)];

  for (const key of ['order-1', 'order-2']) {
    const headers = { 'idempotency-key': key };
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_entry, n) =>
        apis[n % 2]!('POST', '/api/jobs', { token, body: job, headers }),
      ),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
    expect(new Set(answers.map(({ body }) => (body.data as { id: string }).id)).size).toBe(1);
    const first = answers.filter(({ headers }) => headers.get('idempotent-replayed') === null);
    expect(first).toHaveLength(1);
    for (const call of apis) {
      const { headers: read } = await call('GET', first[0]!.headers.get('location')!, { token });
      expect(read.get('etag')).toBe('"0"');
    }
  }
});
