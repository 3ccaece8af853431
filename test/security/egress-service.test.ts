import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { handlersFolder } from '../support/handlers.ts';
import { httpClient } from '../support/http-client.ts';
import { startService } from '../support/service.ts';
import { startTarget } from '../support/target.ts';
import type { Target } from '../support/target.ts';
import { eventually } from '../support/waiting.ts';
import { startWebhookReceiver } from '../support/webhook-receiver.ts';

// The other tests open private networks, or guard the parts one by one. Here it is the whole service, with the setting as it comes.
const GUARDED = { WEBHOOK_ALLOW_PRIVATE_NETWORKS: '' };
const NAME = 'hooks.example.com';

/** Every name means this machine, so that nothing leaves it when the guard fails. */
const dns = vi.hoisted(() => ({ asked: [] as string[] }));
vi.mock('node:dns/promises', () => {
  const answer = (address: string) => (name: string) => {
    dns.asked.push(name);
    return Promise.resolve([address]);
  };
  return {
    lookup: (name: string) => answer('127.0.0.1')(name).then(([address]) => [{ address, family: 4 }]),
    Resolver: class {
      resolve4 = answer('127.0.0.1');
      resolve6 = answer('::1');
      cancel = (): void => undefined;
    },
  };
});
beforeEach(() => {
  dns.asked.length = 0;
});

const NOT_ALLOWED = 'Destination not allowed';

describe('a submission with a webhook', () => {
  // Without a worker nothing is ever delivered.
  let target: Target;
  let submit: (webhookUrl: string) => ReturnType<Target['call']>;

  beforeAll(async () => {
    target = await startTarget({ ...GUARDED, ROLES: 'api' });
    const { apiKey: token } = await target.newUser();
    submit = (webhookUrl) =>
      target.call('POST', '/api/jobs', { token, body: { type: 'send-email', payload: {}, webhookUrl } });
  });
  afterAll(() => target.stop());

  test.each([
    ['loopback', 'http://127.0.0.1/'],
    ['loopback, another of its addresses', 'http://127.255.255.254:8080/'],
    ['a decimal number', 'http://2130706433/'],
    ['a hexadecimal number', 'http://0x7f000001/'],
    ['hexadecimal parts', 'http://0x7f.1/'],
    ['octal parts', 'http://0177.0.0.1/'],
    ['parts left out', 'http://127.1/'],
    ['digits in circles', 'http://①②⑦.⓪.⓪.①/'],
    ['dots of another script', 'http://127。0。0。1/'],
    ['escapes', 'http://127%2e0%2e0%2e1/'],
    ['a dot at the end', 'http://127.0.0.1./'],
    ['no address', 'http://0.0.0.0/'],
    ['IPv6 loopback', 'http://[::1]/'],
    ['no address in IPv6', 'http://[::]/'],
    ['IPv4-mapped', 'http://[::ffff:127.0.0.1]/'],
    ['IPv4-compatible', 'http://[::7f00:1]/'],
    ['NAT64', 'http://[64:ff9b::7f00:1]/'],
    ['6to4', 'http://[2002:7f00:1::]/'],
    ['Teredo', 'http://[2001:0:7f00:1::]/'],
    ['link-local', 'http://[fe80::1]/'],
    ['unique local', 'http://[fd12:3456:789a::1]/'],
    ['10/8', 'http://10.0.0.1/'],
    ['172.16/12', 'http://172.31.255.255/'],
    ['192.168/16', 'http://192.168.1.1/'],
    ['shared by carriers', 'http://100.64.0.1/'],
    ['metadata', 'http://169.254.169.254/latest/meta-data/'],
    ['metadata, as a number', 'http://2852039166/'],
    ["Azure's host", 'http://168.63.129.16/'],
    ['multicast', 'http://224.0.0.1/'],
    ['broadcast', 'http://255.255.255.255/'],
    ['localhost', 'http://localhost/'],
    ['LOCALHOST', 'http://LOCALHOST./'],
    ['a name of the machine', 'http://a.localhost/'],
    ['a name of the network', 'http://metadata.google.internal/'],
    ['a name without a dot', 'http://redis:6379/'],
    ['https', 'https://127.0.0.1/'],
  ])('to %s is refused', async (_, url) => {
    const { status, body } = await submit(url);
    expect({ status, body }).toEqual({
      status: 400,
      body: { success: false, message: 'Validation error', errors: { webhookUrl: [NOT_ALLOWED] } },
    });
  });

  test.each([
    ['http://user:password@example.com/', 'Must not contain a user name or password'],
    ['http://example.com@127.0.0.1/', 'Must not contain a user name or password'],
    ['file:///etc/passwd', 'Invalid webhook URL'],
    ['gopher://127.0.0.1:6379/', 'Invalid webhook URL'],
  ])('to %s is refused', async (url, problem) => {
    const { status, body } = await submit(url);
    expect({ status, body }).toEqual({
      status: 400,
      body: { success: false, message: 'Validation error', errors: { webhookUrl: [problem] } },
    });
  });

  test('to the public internet is taken', async () => {
    expect((await submit(`https://${NAME}/`)).status).toBe(201);
    const { rows } = await target.database.query(`SELECT data->'webhookUrl' AS url FROM eventstore.events`);
    // And none of the others.
    expect(rows).toEqual([{ url: `https://${NAME}/` }]);
    expect(dns.asked).toEqual([]);
  });
});

/** A guarded service that does everything, and somebody inside who listens. */
async function startGuarded(handlers: Readonly<Record<string, string>> = {}) {
  const HANDLERS_DIR = await handlersFolder(handlers);
  const target = await startTarget({ ...GUARDED, HANDLERS_DIR });
  onTestFinished(() => target.stop());
  const inside = await startWebhookReceiver();
  onTestFinished(() => inside.close());
  const { apiKey: token } = await target.newUser();
  return { target, inside, token };
}

/** What became of all the tries to tell of a job. */
async function attemptsOf({ call }: Target, token: string, id: string) {
  return eventually(async () => {
    const { body } = await call('GET', `/api/jobs/${id}/webhook-logs`, { token });
    const attempts = body.data as { statusCode: number | null; success: boolean; error: string | null }[];
    // One that succeeds is the last.
    return (attempts.length === 3 || attempts.some(({ success }) => success)) && attempts;
  }, 20_000);
}

const refusedAttempt: unknown = expect.objectContaining({
  statusCode: null,
  success: false,
  error: NOT_ALLOWED,
});

describe('a delivery', () => {
  test('to a name that means this machine is refused, and its owner reads why', async () => {
    const { target, inside, token } = await startGuarded();
    const webhookUrl = inside.url.replace('127.0.0.1', NAME);
    const job = { type: 'send-email', payload: {}, webhookUrl };
    const { status, body } = await target.call('POST', '/api/jobs', { token, body: job });
    expect(status).toBe(201);
    const attempts = await attemptsOf(target, token, (body.data as { id: string }).id);
    expect(attempts).toEqual([refusedAttempt, refusedAttempt, refusedAttempt]);
    expect(dns.asked).toContain(NAME);
    expect(inside.deliveries).toEqual([]);
  });

  test('to an address that was accepted while private networks were open is refused as well', async () => {
    const { target, inside, token } = await startGuarded();
    const open = await startService({ ROLES: 'api', DATABASE_URL: target.databaseUrl! });
    onTestFinished(() => open.stop());
    const job = { type: 'send-email', payload: {}, webhookUrl: inside.url };
    const { status, body } = await httpClient(open.base)('POST', '/api/jobs', { token, body: job });
    expect(status).toBe(201);
    const attempts = await attemptsOf(target, token, (body.data as { id: string }).id);
    expect(attempts).toEqual([refusedAttempt, refusedAttempt, refusedAttempt]);
    expect(inside.deliveries).toEqual([]);
  });
});

test("a handler's ctx.http is refused as well, and the job says so", async () => {
  const { target, inside, token } = await startGuarded({
    'fetch.mjs': `export default { type: 'fetch', async run({ url }, ctx) {
      return (await ctx.http.fetch(url, { method: 'POST', body: 'hello' })).status;
    } };`,
  });
  for (const url of [inside.url, inside.url.replace('127.0.0.1', 'localhost')]) {
    const job = { type: 'fetch', payload: { url }, maxAttempts: 1 };
    const { body } = await target.call('POST', '/api/jobs', { token, body: job });
    const { id } = body.data as { id: string };
    const ended = await eventually(async () => {
      const { data } = (await target.call('GET', `/api/jobs/${id}`, { token })).body;
      return ['DONE', 'FAILED'].includes((data as { status: string }).status) && data;
    }, 20_000);
    expect(ended).toMatchObject({ status: 'FAILED', error: NOT_ALLOWED });
  }
  expect(inside.deliveries).toEqual([]);
});
