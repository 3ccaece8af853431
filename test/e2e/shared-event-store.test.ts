import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { startEventStoreDouble } from '../support/eventstoredb/server.ts';
import type { EventStoreDouble } from '../support/eventstoredb/server.ts';
import { ANY } from '../support/eventstoredb/log.ts';
import { httpClient } from '../support/http-client.ts';
import { LiveClient } from '../support/live-client.ts';
import { startService } from '../support/service.ts';
import type { Service } from '../support/service.ts';
import { eventually } from '../support/waiting.ts';

/** Streams of another application in the same EventStoreDB, named much like ours. */
const foreignStreams = [
  'job-',
  'job-import-2026',
  `job-${randomUUID().toUpperCase()}`,
  `job-{${randomUUID()}}`,
  `job-${randomUUID()}-1`,
  `job-${randomUUID().replaceAll('-', '')}`,
  'jobLog-nightly',
  `jobLog-${randomUUID()} `,
  'webhook-stripe',
  `webhook-${randomUUID()}`,
  `webhook-${randomUUID()}-0`,
  `webhook-${randomUUID()}-first`,
];

let eventStore: EventStoreDouble;
let service: Service;

beforeAll(async () => {
  eventStore = await startEventStoreDouble();
  writeForeign(1);
  service = await startService({ EVENTSTORE_URL: eventStore.url });
});

afterAll(async () => {
  await service.stop();
  await eventStore.stop();
});

/** Events of types of their own and of ones that are called as ours are; JSON and bytes, with metadata and without. */
function writeForeign(times: number): void {
  for (let time = 0; time < times; time++) {
    for (const stream of foreignStreams) {
      const json = { contentType: 'application/json', data: Buffer.from('{"orderId":7}') };
      const bytes = { contentType: 'application/octet-stream', data: Buffer.from([0xff, 0, 0xd8]) };
      const none = Buffer.alloc(0);
      eventStore.log.append(stream, ANY, [
        { ...json, id: randomUUID(), type: 'OrderPlaced', metadata: Buffer.from('{"schemaVersion":1}') },
        { ...json, id: randomUUID(), type: 'JobCreated', metadata: none },
        { ...bytes, id: randomUUID(), type: 'JobLogged', metadata: none },
        { ...bytes, id: randomUUID(), type: 'WebhookAttempted', metadata: Buffer.from('no JSON') },
      ]);
    }
  }
}

async function newUser() {
  const call = httpClient(service.base);
  const credentials = { email: `${randomUUID()}@example.com`, password: 'securepassword123' };
  const { body } = await call('POST', '/api/auth/register', { body: credentials });
  const { apiKey } = body.data as { apiKey: string };
  return {
    apiKey,
    async submit(): Promise<string> {
      const answer = await call('POST', '/api/jobs', {
        token: apiKey,
        body: { type: 'send-email', payload: {} },
      });
      return (answer.body.data as { id: string }).id;
    },
    async listed(): Promise<unknown> {
      return (await call('GET', '/api/jobs?status=DONE', { token: apiKey })).body.data;
    },
    async connect(): Promise<LiveClient> {
      const client = new LiveClient(`${service.wsBase}/ws?token=${apiKey}`);
      onTestFinished(() => client.close());
      await client.message('connected');
      return client;
    },
  };
}

test('streams that are only named like ours are passed over: jobs run, are listed and told of', async () => {
  const user = await newUser();
  const client = await user.connect();
  client.send({ type: 'subscribe', scope: 'all' });
  await client.message('subscribed');
  const first = await user.submit();
  const { cursor } = await client.message('job:created', first);
  writeForeign(3);
  const second = await user.submit();
  await client.message('job:done', second);

  const late = await user.connect();
  late.send({ type: 'subscribe', scope: 'all', sinceCursor: cursor });
  await late.message('job:done', second);
  expect(late.messages.filter(({ type }) => type === 'error')).toEqual([]);
  await eventually(async () => {
    expect(await user.listed()).toMatchObject([{ id: second }, { id: first }]);
    return true;
  });
});

test('no consumer trails because of them', async () => {
  writeForeign(1);
  const parts = await eventually(async () => {
    const answer = await fetch(`${service.base}/readyz`);
    const { parts } = (await answer.json()) as { parts: Record<string, { status: string; lag?: number }> };
    expect(Object.values(parts).map(({ lag }) => lag ?? 0)).toEqual(Object.values(parts).map(() => 0));
    return parts;
  });
  expect(Object.values(parts).map(({ status }) => status)).not.toContain('failed');
});

test('an event in a stream named exactly as ours is nothing to pass over: the consumer stops and names it', async () => {
  const own = await startEventStoreDouble();
  const other = await startService({ EVENTSTORE_URL: own.url });
  onTestFinished(async () => {
    await other.stop();
    await own.stop();
  });
  const id = randomUUID();
  const given = { contentType: 'application/json', data: Buffer.from('{}'), metadata: Buffer.alloc(0) };
  own.log.append(`job-${randomUUID()}`, ANY, [{ ...given, id, type: 'OrderPlaced' }]);
  await eventually(async () => {
    const answer = await fetch(`${other.base}/readyz`);
    expect(answer.status).toBe(503);
    expect(await answer.text()).toContain(id);
    return true;
  });
});
