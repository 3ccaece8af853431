import { describe, expect, test } from 'vitest';
import { startApi } from '../support/http.ts';

const credentials = { email: 'someone@example.com', password: 'a guess' };

/** Logs in once from each of these, with one login a minute allowed. @returns the statuses */
async function logins(trustProxy: number, requests: readonly Record<string, string>[]): Promise<number[]> {
  const api = await startApi({ rateLimits: { jobsPerMinute: 10, authPerMinute: 1 }, trustProxy });
  const seen: number[] = [];
  for (const headers of requests) {
    const { status } = await api.call('POST', '/api/auth/login', { body: credentials, headers });
    seen.push(status);
  }
  return seen;
}

test('without a proxy, nobody chooses the address they are counted by', async () => {
  const names = [
    'X-Forwarded-For',
    'X-Real-IP',
    'True-Client-IP',
    'CF-Connecting-IP',
    'X-Client-IP',
    'X-Cluster-Client-IP',
  ];
  const requests = names.map((name, n) => ({ [name]: `203.0.113.${n}` }));
  const seen = await logins(0, [{ Forwarded: 'for=203.0.113.9' }, ...requests]);
  expect(seen).toEqual([401, ...names.map(() => 429)]);
});

describe('behind one proxy', () => {
  const through = (...addresses: readonly string[]) =>
    addresses.map((address) => ({ 'x-forwarded-for': address }));

  test('what the client says of itself in front of what the proxy adds does not count', async () => {
    const spoofed = through('1.1.1.1, 203.0.113.7', '2.2.2.2, 203.0.113.7', '3.3.3.3,4.4.4.4,203.0.113.7');
    expect(await logins(1, spoofed)).toEqual([401, 429, 429]);
  });

  test('ports that a proxy adds do not make one client many', async () => {
    expect(await logins(1, through('203.0.113.7:1000', '203.0.113.7:1001', '203.0.113.7'))).toEqual([
      401, 429, 429,
    ]);
    expect(
      await logins(1, through('[2001:db8::1]:1000', '[2001:db8::2]:1001', '[2001:db8::3]', '2001:db8::4')),
    ).toEqual([401, 429, 429, 429]);
  });

  test('addresses differ that are different', async () => {
    expect(
      await logins(1, through('203.0.113.7:1000', '203.0.113.8:1000', '2001:db8:1::1', '2001:db8:2::1')),
    ).toEqual([401, 401, 401, 401]);
  });

  test('what is no address is counted too, and not kept as long as it may be', async () => {
    const rest = 'x'.repeat(10_000);
    expect(await logins(1, through('unknown', 'unknown', `_${rest}1`, `_${rest}2`))).toEqual([
      401, 429, 401, 429,
    ]);
  });
});

test('a user rotates webhook secrets only so often', async () => {
  const api = await startApi({ rateLimits: { jobsPerMinute: 2, authPerMinute: 1 } });
  const [{ token }, other] = [await api.newUser(), await api.newUser()];
  const rotate = async (of: string) => (await api.call('POST', '/api/webhooks/secret', { token: of })).status;
  expect([await rotate(token), await rotate(token), await rotate(token)]).toEqual([200, 200, 429]);
  expect(await rotate(other.token)).toBe(200);
  expect((await api.call('GET', '/api/webhooks/secret', { token })).status).toBe(200);
});
