import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { UnavailableError } from '../../src/errors.ts';
import type { EventStore } from '../../src/events/event-store.ts';
import { createPostgresEventStore } from '../../src/infrastructure/postgres/event-store.ts';
import { silentLogger } from '../support/database.ts';
import type { CallOptions } from '../support/http-client.ts';
import { startApi } from '../support/http.ts';
import { everything } from '../support/store.ts';

const job = { type: 'send-email', payload: {} };
const wrong = { email: 'developer@example.com', password: 'wrong password' };
const from = (address: string) => ({ 'x-forwarded-for': address });

const startLimited = (jobsPerMinute: number, authPerMinute: number) =>
  startApi({ rateLimits: { jobsPerMinute, authPerMinute }, trustProxy: 1 });

type Api = Awaited<ReturnType<typeof startApi>>;

/** The statuses of as many requests, one after the other. */
async function statuses(times: number, request: (n: number) => ReturnType<Api['call']>): Promise<number[]> {
  const seen: number[] = [];
  for (let n = 0; n < times; n++) seen.push((await request(n)).status);
  return seen;
}

const login = ({ call }: Api, body: unknown, address: string) =>
  call('POST', '/api/auth/login', { body, headers: from(address) });

test('every submission says what is left, and the eleventh is turned away in the words of the contract', async () => {
  const api = await startLimited(10, 20);
  const { token } = await api.newUser();
  const submit = (body: unknown) => api.call('POST', '/api/jobs', { token, body });
  for (let left = 9; left >= 0; left--) {
    const { status, headers } = await submit(left === 5 ? { type: 7 } : job);
    expect(status).toBe(left === 5 ? 400 : 201);
    expect(headers.get('x-ratelimit-limit')).toBe('10');
    expect(headers.get('x-ratelimit-remaining')).toBe(String(left));
    const reset = Number(headers.get('x-ratelimit-reset'));
    expect(reset).toBeGreaterThan(0);
    expect(reset).toBeLessThanOrEqual(60);
  }
  const { status, headers, body } = await submit(job);
  expect(status).toBe(429);
  const seconds = Number(headers.get('retry-after'));
  expect(seconds).toBeGreaterThan(0);
  expect(body).toEqual({
    success: false,
    message: `Too many requests. You can submit a maximum of 10 jobs per minute. Try again in ${seconds} seconds.`,
    retryAfter: seconds,
  });
  expect(headers.get('x-ratelimit-remaining')).toBe('0');
  expect(headers.get('x-ratelimit-reset')).toBe(String(seconds));
  expect((await api.call('GET', '/api/jobs', { token })).status).toBe(200);
});

test('of fifty submissions at once exactly ten get through, whatever the credential, and each user has ten', async () => {
  const api = await startLimited(10, 20);
  const { accessToken, apiKey } = await api.registerUser();
  const credentials: CallOptions[] = [
    { token: accessToken },
    { token: apiKey },
    { headers: { 'x-api-key': apiKey } },
  ];
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, n) =>
      api.call('POST', '/api/jobs', { ...credentials[n % 3], body: job }).then(({ status }) => status),
    ),
  );
  expect(answers.filter((status) => status === 201)).toHaveLength(10);
  expect(answers.filter((status) => status === 429)).toHaveLength(40);
  expect(await everything(api.store)).toHaveLength(10);

  const other = await api.newUser();
  expect((await api.call('POST', '/api/jobs', { token: other.token, body: job })).status).toBe(201);
});

test('a submission that is turned away is not read, and one without a user is not counted', async () => {
  const api = await startLimited(1, 20);
  const { token } = await api.newUser();
  const stranger = await api.call('POST', '/api/jobs', { body: job });
  expect(stranger.status).toBe(401);
  expect(stranger.headers.get('x-ratelimit-limit')).toBeNull();
  expect((await api.call('POST', '/api/jobs', { token, body: job })).status).toBe(201);
  expect((await api.call('POST', '/api/jobs', { token, body: '{not even JSON' })).status).toBe(429);
});

test('guessing at an account is slow from one address, and its owner gets in from another', async () => {
  const api = await startLimited(10, 3);
  const owner = await api.registerUser();
  const guess = { email: owner.email, password: 'guess' };
  const tries = await statuses(5, (n) =>
    login(api, { ...guess, email: n % 2 ? guess.email.toUpperCase() : guess.email }, '203.0.113.7'),
  );
  expect(tries).toEqual([401, 401, 401, 429, 429]);

  const { headers, body } = await login(api, guess, '203.0.113.7');
  const seconds = Number(headers.get('retry-after'));
  expect(body).toEqual({
    success: false,
    message: `Too many requests. You can log in a maximum of 3 times per minute. Try again in ${seconds} seconds.`,
    retryAfter: seconds,
  });
  const { email, password } = owner;
  expect((await login(api, { email, password }, '198.51.100.2')).status).toBe(200);
});

test('an address cannot try one account after the other, and other accounts behind it have a few tries left', async () => {
  const api = await startLimited(10, 2);
  expect(await statuses(3, () => login(api, wrong, '203.0.113.7'))).toEqual([401, 401, 429]);
  const other = await statuses(8, () =>
    login(api, { ...wrong, email: `${randomUUID()}@example.com` }, '203.0.113.7'),
  );
  expect(other).toEqual([401, 401, 401, 401, 401, 401, 401, 429]);
});

test('accounts are registered only so fast from one address', async () => {
  const api = await startLimited(10, 2);
  const register = (address: string) =>
    api.call('POST', '/api/auth/register', {
      body: { email: `${randomUUID()}@example.com`, password: 'securepassword123' },
      headers: from(address),
    });
  expect(await statuses(3, () => register('203.0.113.7'))).toEqual([201, 201, 429]);
  expect((await register('203.0.113.8')).status).toBe(201);
});

test('IPv6 addresses count by their /56, since a customer has that many', async () => {
  const api = await startLimited(10, 1);
  const addresses = [
    '2001:db8:0:ff::1',
    '2001:db8:0:1::2',
    '2001:db8:0:100::1',
    '::ffff:203.0.113.7',
    '203.0.113.7',
  ];
  expect(await statuses(5, (n) => login(api, wrong, addresses[n]!))).toEqual([401, 429, 401, 401, 429]);
});

test('without a proxy in front, nobody chooses the address they are counted by', async () => {
  const api = await startApi({ rateLimits: { jobsPerMinute: 10, authPerMinute: 1 }, trustProxy: 0 });
  expect(await statuses(2, (n) => login(api, wrong, `203.0.113.${n}`))).toEqual([401, 429]);
});

test('refreshing and logging out have room, and a bound', async () => {
  const api = await startLimited(10, 1);
  const refresh = (path: string) => api.call('POST', path, { body: { refreshToken: 'x' } });
  const tries = await statuses(6, (n) => refresh(n % 2 ? '/api/auth/logout' : '/api/auth/refresh'));
  expect(tries).toEqual([401, 200, 401, 200, 401, 429]);
});

test('retries have a limit of their own', async () => {
  const api = await startLimited(1, 20);
  const { token } = await api.newUser();
  const { body } = await api.call('POST', '/api/jobs', { token, body: job });
  const { id } = body.data as { id: string };
  await api.call('DELETE', `/api/jobs/${id}`, { token });
  const retry = () => api.call('POST', `/api/jobs/${id}/retry`, { token });
  expect((await retry()).status).toBe(200);
  const refused = await retry();
  expect(refused.status).toBe(429);
  expect(refused.body.message).toMatch(/^Too many requests\. You can retry a maximum of 1 jobs per minute\./);
});

test('a submission that is repeated with its key is not counted, as often as jobs may be submitted', async () => {
  const api = await startLimited(3, 20);
  const { token } = await api.newUser();
  const submit = async (key: string) => {
    const { status, headers } = await api.call('POST', '/api/jobs', {
      token,
      body: job,
      headers: { 'idempotency-key': key },
    });
    return [status, headers.get('x-ratelimit-limit'), headers.get('x-ratelimit-remaining')];
  };
  expect(await submit('a')).toEqual([201, '3', '2']);
  for (let repeated = 1; repeated <= 3; repeated++) expect(await submit('a')).toEqual([201, '3', '2']);
  expect(await submit('a')).toEqual([201, '3', '1']);
  expect(await submit('b')).toEqual([201, '3', '0']);
  expect(await submit('a')).toEqual([429, '3', '0']);
});

test('what the service could not do is not counted', async () => {
  let away = true;
  const api = await startApi({ rateLimits: { jobsPerMinute: 1, authPerMinute: 1 } }, ({ url, database }) => {
    const store = createPostgresEventStore({ url, database, logger: silentLogger });
    const append: EventStore['append'] = (...args) =>
      away ? Promise.reject(new UnavailableError('event store', 'It is away')) : store.append(...args);
    return { ...store, append };
  });
  const { token } = await api.newUser();
  const submit = () => api.call('POST', '/api/jobs', { token, body: job });
  expect(await statuses(3, submit)).toEqual([503, 503, 503]);
  away = false;
  expect(await statuses(2, submit)).toEqual([201, 429]);
});

test('a minute later the user is let in again', async () => {
  const hits = new Map<string, { totalHits: number; resetTime: Date }>();
  const windowMs = 300;
  const api = await startApi({
    rateLimits: {
      jobsPerMinute: 1,
      authPerMinute: 1,
      // A store whose minute is shorter, and the shape of any other one.
      createStore: (name) => ({
        increment(key) {
          const seen = hits.get(name + key);
          const current =
            seen !== undefined && seen.resetTime.getTime() > Date.now()
              ? seen
              : { totalHits: 0, resetTime: new Date(Date.now() + windowMs) };
          current.totalHits++;
          hits.set(name + key, current);
          return current;
        },
        decrement: () => undefined,
        resetKey: () => undefined,
      }),
    },
  });
  const { token } = await api.newUser();
  const submit = async () => (await api.call('POST', '/api/jobs', { token, body: job })).status;
  expect(await submit()).toBe(201);
  await expect
    .poll(async () => {
      await delay(20);
      return submit();
    })
    .toBe(201);
});
