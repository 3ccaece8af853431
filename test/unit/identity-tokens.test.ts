import { createSecretKey, randomBytes, randomUUID } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { describe, expect, it } from 'vitest';
import { createTokens } from '../../src/identity/tokens.ts';

const NOW = Date.parse('2026-05-19T10:00:00.000Z');
const MINUTE = 60_000;
const userId = randomUUID();
const sessionId = randomUUID();

function setup() {
  let now = NOW;
  const clock = (): number => now;
  const key = createSecretKey(randomBytes(32));
  const otherKey = createSecretKey(randomBytes(32));
  const access = createTokens({ kind: 'access', key, lifetime: 15 * MINUTE, clock });
  const claims = {
    typ: 'access',
    iss: 'asyncly',
    aud: 'asyncly-api',
    sub: userId,
    sid: sessionId,
    jti: 'x',
    iat: NOW / 1_000,
    exp: NOW / 1_000 + 60,
  };
  return { key, otherKey, access, claims, clock, advance: (ms: number) => (now += ms) };
}

describe('tokens', () => {
  it('name the user and the session until they expire', () => {
    const { access, advance } = setup();
    const { token, expiresAt } = access.issue(userId, sessionId);
    expect(expiresAt).toEqual(new Date(NOW + 15 * MINUTE));
    advance(15 * MINUTE - 1_000);
    expect(access.verify(token)).toEqual({ userId, sessionId, expiresAt });
    advance(1_000);
    expect(access.verify(token)).toBeNull();
  });

  it('are taken for what they are, whatever was let in before', () => {
    const { access, otherKey, clock } = setup();
    const { token } = access.issue(userId, sessionId);
    expect(access.verify(token)).not.toBeNull();
    const [header, payload, signature] = token.split('.') as [string, string, string];
    const otherClaims = Buffer.from(JSON.stringify({ sub: sessionId })).toString('base64url');
    for (const forged of [
      `${header}.${payload}.`,
      `${header}.${otherClaims}.${signature}`,
      `${token} `,
      token.slice(0, -1),
    ])
      expect(access.verify(forged)).toBeNull();
    // What one key has signed is nothing to those who have another.
    const other = createTokens({ kind: 'access', key: otherKey, lifetime: MINUTE, clock });
    expect(other.verify(token)).toBeNull();
    expect(access.verify(token)).not.toBeNull();
  });

  it('are never the same twice', () => {
    const { access } = setup();
    expect(access.issue(userId, sessionId).token).not.toBe(access.issue(userId, sessionId).token);
  });

  it('of one kind are not taken for the other, not even with one key for both', () => {
    const { key, otherKey, access, clock } = setup();
    for (const refreshKey of [otherKey, key]) {
      const refresh = createTokens({ kind: 'refresh', key: refreshKey, lifetime: MINUTE, clock });
      expect(access.verify(refresh.issue(userId, sessionId).token)).toBeNull();
      expect(refresh.verify(access.issue(userId, sessionId).token)).toBeNull();
    }
  });

  it('are refused when made by anyone else', () => {
    const { key, otherKey, access, claims } = setup();
    const sign = (payload: object, options: jwt.SignOptions = {}, secret = key): string =>
      jwt.sign(payload, secret, { algorithm: 'HS256', ...options });
    expect(access.verify(sign(claims))).toMatchObject({ userId, sessionId });

    expect(access.verify(sign(claims, {}, otherKey))).toBeNull();
    expect(access.verify(sign(claims, { algorithm: 'HS512' }))).toBeNull();
    expect(access.verify(jwt.sign(claims, null, { algorithm: 'none' }))).toBeNull();
    for (const [claim, wrong] of [
      ['typ', 'refresh'],
      ['iss', 'someone'],
      ['aud', 'something'],
      ['sub', 'not-a-uuid'],
      ['sid', 'not-a-uuid'],
    ] as const) {
      expect(access.verify(sign({ ...claims, [claim]: wrong }))).toBeNull();
    }
    for (const claim of ['typ', 'iss', 'aud', 'sub', 'sid', 'iat', 'exp', 'jti']) {
      const without = Object.fromEntries(Object.entries(claims).filter(([name]) => name !== claim));
      expect(access.verify(sign(without))).toBeNull();
    }
  });

  it.each(['', 'x', 'a.b.c', 'ak_abc', '..', 'e30.e30.', '\u0000'])('are more than %j', (text) => {
    expect(setup().access.verify(text)).toBeNull();
  });

  it('are refused with a changed claim or a changed signature', () => {
    const { access } = setup();
    const [header, , signature] = access.issue(userId, sessionId).token.split('.') as [
      string,
      string,
      string,
    ];
    const [, stranger] = access.issue(randomUUID(), sessionId).token.split('.') as [string, string, string];
    expect(access.verify(`${header}.${stranger}.${signature}`)).toBeNull();
    const none = Buffer.from(JSON.stringify({ alg: 'none', typ: 'JWT' })).toString('base64url');
    expect(access.verify(`${none}.${stranger}.`)).toBeNull();
  });
});
