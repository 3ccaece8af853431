import {
  createHmac,
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  randomUUID,
  sign,
} from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { accessKey, refreshKey, startTarget } from '../support/target.ts';
import type { Target, TargetUser } from '../support/target.ts';

let target: Target;
let user: TargetUser;

beforeAll(async () => {
  target = await startTarget({ ROLES: 'api' });
  user = await target.newUser();
});
afterAll(() => target.stop());

const now = Math.floor(Date.now() / 1_000);
const claims = () => ({
  typ: 'access',
  sub: user.id,
  sid: randomUUID(),
  jti: randomUUID(),
  iss: 'asyncly',
  aud: 'asyncly-api',
  iat: now,
  exp: now + 600,
});
const encoded = (part: unknown): string => Buffer.from(JSON.stringify(part)).toString('base64url');
const HEADER = { alg: 'HS256', typ: 'JWT' };

/** A token as nobody but the holder of the key could make it, whatever it says. */
function forge(
  payload: object | string | null,
  header: object = HEADER,
  key: KeyObject = accessKey,
  hash = 'sha256',
) {
  const text = `${encoded(header)}.${encoded(payload)}`;
  return `${text}.${createHmac(hash, key).update(text).digest('base64url')}`;
}

const statusOf = async (token: string) => (await target.call('GET', '/api/jobs', { token })).status;
const refreshStatus = async (refreshToken: string) =>
  (await target.call('POST', '/api/auth/refresh', { body: { refreshToken } })).status;

test('the forger of these tests knows how a good token is made', async () => {
  expect(await statusOf(forge(claims()))).toBe(200);
  expect(await statusOf(user.accessToken)).toBe(200);
});

describe('an access token is refused', () => {
  const without = (claim: string) =>
    Object.fromEntries(Object.entries(claims()).filter(([name]) => name !== claim));
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const pem = publicKey.export({ type: 'spki', format: 'pem' });
  const rs256 = (): string => {
    const text = `${encoded({ alg: 'RS256', typ: 'JWT' })}.${encoded(claims())}`;
    return `${text}.${sign('sha256', Buffer.from(text), privateKey).toString('base64url')}`;
  };

  test.each<readonly [string, () => string]>([
    ['without a signature, alg none', () => `${encoded({ alg: 'none', typ: 'JWT' })}.${encoded(claims())}.`],
    ['alg None', () => forge(claims(), { ...HEADER, alg: 'None' })],
    ['alg none, signed all the same', () => forge(claims(), { ...HEADER, alg: 'none' })],
    ['HS512 with our key', () => forge(claims(), { ...HEADER, alg: 'HS512' }, accessKey, 'sha512')],
    ['HS384 with our key', () => forge(claims(), { ...HEADER, alg: 'HS384' }, accessKey, 'sha384')],
    ['a lower-case alg', () => forge(claims(), { ...HEADER, alg: 'hs256' })],
    ['no alg', () => forge(claims(), { typ: 'JWT' })],
    ['RS256', rs256],
    ['a public key taken for an HMAC key', () => forge(claims(), HEADER, createSecretKey(Buffer.from(pem)))],
    ['an empty key', () => forge(claims(), HEADER, createSecretKey(Buffer.alloc(0)))],
    [
      'a key of NUL',
      () => forge(claims(), { ...HEADER, kid: '/dev/null' }, createSecretKey(Buffer.alloc(1))),
    ],
    ["the refresh tokens' key", () => forge(claims(), HEADER, refreshKey)],
    ['another typ', () => forge({ ...claims(), typ: 'refresh' })],
    ['another issuer', () => forge({ ...claims(), iss: 'https://evil.example' })],
    ['another audience', () => forge({ ...claims(), aud: 'asyncly-web' })],
    ['a subject that is no id', () => forge({ ...claims(), sub: "' OR 1=1 --" })],
    ['a subject of several', () => forge({ ...claims(), sub: [user.id] })],
    ['expired', () => forge({ ...claims(), iat: now - 1_000, exp: now - 1 })],
    ['an expiry in words', () => forge({ ...claims(), exp: '9999999999' })],
    ['not good yet', () => forge({ ...claims(), nbf: now + 600 })],
    ['issued in the future', () => forge({ ...claims(), iat: now + 600, exp: now + 1_200 })],
    ['without a time of issue', () => forge(without('iat'))],
    ['without an expiry', () => forge(without('exp'))],
    ['without a session', () => forge(without('sid'))],
    ['a critical extension nobody knows', () => forge(claims(), { ...HEADER, crit: ['x'], x: 1 })],
    [
      'a critical extension that changes the signature',
      () => forge(claims(), { ...HEADER, crit: ['b64'], b64: false }),
    ],
    ['a key by name', () => forge(claims(), { ...HEADER, kid: "x' UNION SELECT 'key" })],
    ['a key by address', () => forge(claims(), { ...HEADER, jku: 'https://evil.example/jwks.json' })],
    ['a certificate by address', () => forge(claims(), { ...HEADER, x5u: 'https://evil.example/cert.pem' })],
    [
      'a key of its own',
      () => forge(claims(), { ...HEADER, jwk: createPublicKey(pem).export({ format: 'jwk' }) }),
    ],
    ['claims that are no object', () => forge('text')],
    ['claims that are null', () => forge(null)],
    ['its claims changed', () => user.accessToken.replace(/\.[^.]+\./, `.${encoded(claims())}.`)],
    ['cut short', () => user.accessToken.slice(0, -1)],
    ['the signature cut off', () => user.accessToken.replace(/[^.]+$/, '')],
    ['a fourth part', () => `${user.accessToken}.x`],
    ['padding', () => `${user.accessToken}=`],
    ['letters beyond ASCII', () => user.accessToken.replace('eyJ', 'ëyJ')],
    ['15,000 characters', () => `${user.accessToken}${'A'.repeat(14_000)}`],
    ['two of them', () => `${user.accessToken},${user.accessToken}`],
  ])('%s', async (_, make) => {
    const { status, body, headers } = await target.call('GET', '/api/jobs', { token: make() });
    expect([status, body]).toEqual([401, { success: false, message: 'Access token required' }]);
    expect(headers.get('www-authenticate')).toBe('Bearer');
  });
});

describe('kinds of tokens', () => {
  test('a refresh token is no access token, and the other way round', async () => {
    expect(await statusOf(user.refreshToken)).toBe(401);
    expect(await refreshStatus(user.accessToken)).toBe(401);
    expect(await refreshStatus(forge({ ...claims(), typ: 'refresh' }))).toBe(401);
  });

  test('a refresh token that is good in itself but was never issued is refused', async () => {
    expect(await refreshStatus(forge({ ...claims(), typ: 'refresh' }, HEADER, refreshKey))).toBe(401);
    expect(await refreshStatus(user.refreshToken)).toBe(200);
  });

  test('a refresh token is over with the logout, and logging out twice tells nothing', async () => {
    const leaving = await target.newUser();
    const { refreshToken } = leaving;
    const logout = () => target.call('POST', '/api/auth/logout', { body: { refreshToken } });
    const first = await logout();
    expect(await refreshStatus(refreshToken)).toBe(401);
    expect(await logout()).toMatchObject({ status: first.status, body: first.body });
  });

  test('a logout ends no session of anyone else', async () => {
    const other = await target.newUser();
    const [header, , signature] = other.refreshToken.split('.') as [string, string, string];
    const forged = `${header}.${encoded({ ...claims(), typ: 'refresh', sub: other.id })}.${signature}`;
    await target.call('POST', '/api/auth/logout', { body: { refreshToken: forged } });
    await target.call('POST', '/api/auth/logout', { body: { refreshToken: other.accessToken } });
    expect(await refreshStatus(other.refreshToken)).toBe(200);
  });

  test('a credential that is refused is not made good by another beside it', async () => {
    const headers = { 'x-api-key': user.apiKey };
    expect((await target.call('GET', '/api/jobs', { token: 'x.y.z', headers })).status).toBe(401);
  });
});
