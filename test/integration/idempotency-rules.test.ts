import { describe, expect, onTestFinished, test } from 'vitest';
import type { EventStore } from '../../src/events/event-store.ts';
import { createPostgresEventStore } from '../../src/infrastructure/postgres/event-store.ts';
import { silentLogger } from '../support/database.ts';
import { handlersFolder } from '../support/handlers.ts';
import { httpClient } from '../support/http-client.ts';
import type { Call } from '../support/http-client.ts';
import { startApi } from '../support/http.ts';
import { startService } from '../support/service.ts';
import type { ServiceSettings } from '../support/service.ts';
import { startTarget } from '../support/target.ts';

/** What the handler of the tests asks of submissions, before and after it has become stricter. */
const LENIENT = { 'order.mjs': `export default { type: 'order', run: () => null };` };
const STRICT = {
  'order.mjs': `export default {
    type: 'order',
    timeoutMs: 1_000,
    maxAttempts: 2,
    payload: {
      safeParse: (data) => typeof data.customer === 'string'
        ? { success: true, data }
        : { success: false, error: { issues: [{ path: ['customer'], message: 'Who orders?' }] } },
    },
    run: () => null,
  };`,
};

const INSIDE = 'http://127.0.0.1:9/';
const order = { type: 'order', payload: { n: 1 } };

const submitAt =
  (call: Call, token: string) =>
  (body: object, key: string | null = 'order-1') =>
    call('POST', '/api/jobs', { token, body, ...(key !== null && { headers: { 'idempotency-key': key } }) });

/** The service as it was when keys were used, and as it is since: on the same data, with other rules. */
async function startBoth(since: ServiceSettings) {
  const roles = { ROLES: 'api,projector', RATE_LIMIT_JOBS_PER_MINUTE: '20' };
  const before = await startTarget({ ...roles, HANDLERS_DIR: await handlersFolder(LENIENT) });
  onTestFinished(() => before.stop());
  const { apiKey } = await before.newUser();
  const after = await startService({ ...roles, ...since, DATABASE_URL: before.databaseUrl! });
  onTestFinished(() => after.stop());
  const jobs = async (): Promise<number> => {
    const { rows } = await before.database.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM eventstore.events WHERE type = 'JobCreated'`,
    );
    return rows[0]!.n;
  };
  return { before: submitAt(before.call, apiKey), after: submitAt(httpClient(after.base), apiKey), jobs };
}

describe.each([
  [
    'a handler that asks more of payloads',
    async () => ({ HANDLERS_DIR: await handlersFolder(STRICT) }),
    order,
    { 'payload.customer': ['Who orders?'] },
  ],
  [
    'a handler that allows less',
    async () => ({ HANDLERS_DIR: await handlersFolder(STRICT) }),
    { ...order, payload: { customer: 'c' }, maxAttempts: 3 },
    { maxAttempts: ['maxAttempts must be at most 2 for the job type order'] },
  ],
  [
    'private networks that are closed',
    () => Promise.resolve({ WEBHOOK_ALLOW_PRIVATE_NETWORKS: '' }),
    { ...order, webhookUrl: INSIDE },
    { webhookUrl: ['Destination not allowed'] },
  ],
])('with %s since', (_, change, body, errors) => {
  const refused = { status: 400, body: { success: false, message: 'Validation error', errors } };

  test('a submission that was accepted before is answered with its job, and no new one is taken', async () => {
    const { before, after, jobs } = await startBoth(await change());
    const first = await before(body);
    expect(first.status).toBe(201);
    const again = await after(body);
    expect(again).toMatchObject({ status: 201, body: first.body });
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    for (const header of ['location', 'etag'])
      expect(again.headers.get(header)).toBe(first.headers.get(header));
    // As free as any repetition: the first one alone counts where it was asked for.
    expect(again.headers.get('x-ratelimit-remaining')).toBe('20');

    for (const key of ['order-2', null]) expect(await after(body, key)).toMatchObject(refused);
    // What was refused has not used its key.
    expect(await before(body, 'order-2')).toMatchObject({ status: 201 });
    expect(await jobs()).toBe(2);
  });

  test('another submission under a key that was used is told so, whether it would be accepted or not', async () => {
    const { before, after, jobs } = await startBoth(await change());
    await before(body);
    const different = { ...body, payload: { ...body.payload, n: 2 } };
    const reused = {
      status: 409,
      body: { success: false, message: 'This Idempotency-Key was used for another request already' },
    };
    expect(await after(different)).toMatchObject(reused);
    expect(await after({ type: 'other', payload: {} })).toMatchObject(reused);
    // What is no submission at all is no other one either.
    expect(await after({ ...body, type: '' })).toMatchObject({ status: 400 });
    expect(await jobs()).toBe(1);
  });
});

test('a key is looked up for submissions that would be refused, and for no others', async () => {
  let reads = 0;
  const counting = (store: EventStore): EventStore => ({
    ...store,
    read: (...args) => {
      reads++;
      return store.read(...args);
    },
  });
  const api = await startApi(
    { checkPayload: (_type, payload) => ('n' in payload ? null : { n: ['Required'] }) },
    ({ url, database }) => counting(createPostgresEventStore({ url, database, logger: silentLogger })),
  );
  const submit = submitAt(api.call, (await api.newUser()).token);
  expect((await submit(order)).status).toBe(201);
  expect((await submit(order, null)).status).toBe(201);
  expect((await submit({ ...order, payload: {} }, null)).status).toBe(400);
  expect(reads).toBe(0);
  expect((await submit({ ...order, payload: {} }, 'order-2')).status).toBe(400);
  expect(reads).toBe(1);
});
