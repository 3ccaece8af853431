import { createSecretKey, randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { UnavailableError } from '../../src/errors.ts';
import {
  EmailTakenError,
  InvalidAccessTokenError,
  InvalidApiKeyError,
  InvalidCredentialsError,
  InvalidRefreshTokenError,
} from '../../src/identity/errors.ts';
import { createIdentity } from '../../src/identity/identity.ts';
import type { Identity } from '../../src/identity/identity.ts';
import { createPasswords } from '../../src/identity/passwords.ts';
import { createTestDatabase } from '../support/database.ts';
import { passwords } from '../support/passwords.ts';

const DAY = 86_400_000;
const credentials = { email: 'Developer@Example.com', password: 'securepassword123' };

async function setup() {
  const created = await createTestDatabase();
  const { database } = created;
  let now = Date.now();
  const ended: string[] = [];
  const identity = createIdentity({
    database,
    accessKey: createSecretKey(randomBytes(32)),
    refreshKey: createSecretKey(randomBytes(32)),
    accessExpiresIn: '15m',
    refreshExpiresIn: '7d',
    clock: () => now,
    passwords,
    sessionEnded: (sessionId) => ended.push(sessionId),
  });
  onTestFinished(async () => {
    await created.drop();
  });
  return { identity, database, ended, advance: (ms: number) => (now += ms) };
}

const login = (identity: Identity) => identity.login(credentials);

test('an account logs in, with its address in any case', async () => {
  const { identity } = await setup();
  const { id, email, apiKey } = await identity.register(credentials);
  expect(email).toBe(credentials.email);
  expect(await identity.authenticateApiKey(apiKey)).toBe(id);
  const { accessToken } = await identity.login({ ...credentials, email: 'developer@EXAMPLE.com' });
  expect(identity.authenticateToken(accessToken)).toBe(id);
});

test('an address is registered once, however many try at the same time', async () => {
  const { identity, database } = await setup();
  const outcomes = await Promise.allSettled(
    ['a@example.com', 'A@example.com', 'a@EXAMPLE.com', 'a@example.com'].map((email) =>
      identity.register({ ...credentials, email }),
    ),
  );
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(EmailTakenError);
  }
  const { rows } = await database.query(
    'SELECT (SELECT count(*) FROM users) AS users, (SELECT count(*) FROM api_keys) AS keys',
  );
  expect(rows).toEqual([{ users: 1n, keys: 1n }]);
});

test('what does not fit an account is refused in the same words', async () => {
  const { identity } = await setup();
  await identity.register(credentials);
  await identity.register({ email: 'long@example.com', password: 'x'.repeat(72) });
  for (const wrong of [
    { ...credentials, email: 'nobody@example.com' },
    { ...credentials, email: 'a\0@example.com' },
    { ...credentials, password: 'securepassword124' },
    { email: 'long@example.com', password: 'x'.repeat(73) },
  ]) {
    await expect(identity.login(wrong)).rejects.toThrow(new InvalidCredentialsError());
  }
});

test('a refresh token serves until its logout, and no other with it', async () => {
  const { identity } = await setup();
  const { id } = await identity.register(credentials);
  const [first, second] = [await login(identity), await login(identity)];
  for (let use = 0; use < 2; use++) {
    const { accessToken } = await identity.refresh(first.refreshToken);
    expect(identity.authenticateToken(accessToken)).toBe(id);
  }
  await identity.logout(first.refreshToken);
  await identity.logout(first.refreshToken);
  await expect(identity.refresh(first.refreshToken)).rejects.toThrow(InvalidRefreshTokenError);
  await expect(identity.refresh(second.refreshToken)).resolves.toHaveProperty('accessToken');
});

test('a refresh token ends with its lifetime, and a later login clears it away', async () => {
  const { identity, database, advance } = await setup();
  await identity.register(credentials);
  const { refreshToken } = await login(identity);
  advance(7 * DAY + 1_000);
  await expect(identity.refresh(refreshToken)).rejects.toThrow(InvalidRefreshTokenError);
  await login(identity);
  const { rows } = await database.query('SELECT count(*) AS kept FROM refresh_tokens');
  expect(rows).toEqual([{ kept: 1n }]);
});

test('tokens and keys of the wrong kind open nothing', async () => {
  const { identity } = await setup();
  const { apiKey } = await identity.register(credentials);
  const { accessToken, refreshToken } = await login(identity);
  expect(() => identity.authenticateToken(refreshToken)).toThrow(InvalidAccessTokenError);
  expect(() => identity.authenticateToken(apiKey)).toThrow(InvalidAccessTokenError);
  await expect(identity.refresh(accessToken)).rejects.toThrow(InvalidRefreshTokenError);
  await expect(identity.authenticateApiKey(`${apiKey}x`)).rejects.toThrow(InvalidApiKeyError);
});

test('a grant holds until the token expires or its own session is logged out of', async () => {
  const { identity, ended, advance } = await setup();
  const { id } = await identity.register(credentials);
  const [first, second] = [await login(identity), await login(identity)];
  const refreshed = await identity.refresh(first.refreshToken);
  const grants = await Promise.all(
    [first, refreshed, second].map(({ accessToken }) => identity.grant(accessToken)),
  );
  expect(grants.map(({ userId }) => userId)).toEqual([id, id, id]);
  expect(grants[0]?.sessionId).toBe(grants[1]?.sessionId);
  expect(grants[0]?.sessionId).not.toBe(grants[2]?.sessionId);
  expect(await identity.findRevoked(grants)).toEqual(new Set());

  await identity.logout(first.refreshToken);
  await identity.logout(first.refreshToken);
  expect(ended).toEqual([grants[0]?.sessionId]);
  expect(await identity.findRevoked(grants)).toEqual(new Set(grants.slice(0, 2)));
  for (const { accessToken } of [first, refreshed])
    await expect(identity.grant(accessToken)).rejects.toThrow(InvalidAccessTokenError);
  advance(15 * 60_000);
  expect(await identity.findRevoked(grants)).toEqual(new Set(grants));
});

test('the grant of an API key holds as long as the key', async () => {
  const { identity, database, advance } = await setup();
  const { id, apiKey } = await identity.register(credentials);
  const grant = await identity.grant(apiKey);
  expect(grant).toMatchObject({ userId: id, expiresAt: null, sessionId: null });
  advance(365 * DAY);
  expect(await identity.findRevoked([grant])).toEqual(new Set());
  await database.query('DELETE FROM api_keys');
  expect(await identity.findRevoked([grant])).toEqual(new Set([grant]));
  await expect(identity.grant(apiKey)).rejects.toThrow(InvalidApiKeyError);
  await expect(identity.grant('')).rejects.toThrow(InvalidAccessTokenError);
});

test('no secret is stored in clear', async () => {
  const { identity, database } = await setup();
  const { apiKey } = await identity.register(credentials);
  const { refreshToken } = await login(identity);
  const { rows } = await database.query(
    `SELECT to_jsonb(t)::text AS row FROM users t UNION ALL SELECT to_jsonb(t)::text FROM api_keys t
     UNION ALL SELECT to_jsonb(t)::text FROM refresh_tokens t`,
  );
  const text = JSON.stringify(rows);
  expect(rows).toHaveLength(3);
  for (const secret of [credentials.password, apiKey, refreshToken]) {
    expect(text).not.toContain(secret);
    expect(text).not.toContain(Buffer.from(secret).toString('hex'));
  }
});

test('a hash that would have to wait for long is turned away', async () => {
  const passwords = createPasswords(6, 1);
  onTestFinished(() => passwords.close());
  // How long they take is known from the first.
  await passwords.verify('password', null);
  const outcomes = await Promise.allSettled(
    Array.from({ length: 30 }, () => passwords.verify('password', null)),
  );
  const rejected = outcomes.filter((outcome) => outcome.status === 'rejected');
  expect(outcomes[0]?.status).toBe('fulfilled');
  expect(rejected.length).toBeGreaterThan(0);
  for (const { reason } of rejected) expect(reason).toBeInstanceOf(UnavailableError);
});

test('hashing leaves the event loop free, and too many hashes are turned away', async () => {
  const slow = createPasswords(6);
  onTestFinished(() => slow.close());
  let turns = 0;
  let done = false;
  const outcomes = Promise.allSettled(Array.from({ length: 100 }, () => slow.verify('password', null)));
  void outcomes.then(() => (done = true));
  while (!done) {
    await nextTurn();
    turns++;
  }
  const rejected = (await outcomes).filter((outcome) => outcome.status === 'rejected');
  expect(turns).toBeGreaterThan(100);
  expect(rejected.length).toBeGreaterThan(0);
  for (const { reason } of rejected) expect(reason).toBeInstanceOf(UnavailableError);
});
