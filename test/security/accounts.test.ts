import { createHash, createSecretKey, randomBytes, randomUUID } from 'node:crypto';
import { getRounds } from 'bcryptjs';
import { Piscina } from 'piscina';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { registrationSchema } from '../../src/identity/credentials.ts';
import { createIdentity } from '../../src/identity/identity.ts';
import type { Identity } from '../../src/identity/identity.ts';
import { createTestDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { passwords } from '../support/passwords.ts';
import { startTarget } from '../support/target.ts';
import type { Target } from '../support/target.ts';

const PASSWORD = 'securepassword123';
const address = (): string => `${randomUUID()}@example.com`;

describe('who tries to get in', () => {
  let target: Target;
  /** Watches what is given to threads, and lets it through. */
  const runs = vi.spyOn(Piscina.prototype, 'run');

  beforeAll(async () => {
    target = await startTarget({ ROLES: 'api' });
  });
  afterAll(async () => {
    await target.stop();
    runs.mockRestore();
  });
  const auth = (path: string, body: unknown) => target.call('POST', `/api/auth/${path}`, { body });

  test('is answered after the same work and in the same words, whether there is the account or not', async () => {
    const email = address();
    expect((await auth('register', { email, password: PASSWORD })).status).toBe(201);
    const { rows } = await target.database.query<{ hash: string }>(
      'SELECT password_hash AS hash FROM users WHERE email = $1',
      [email],
    );
    const { hash } = rows[0]!;
    const wrong = [
      { email, password: hash },
      { email: address(), password: PASSWORD },
      { email: 'x'.repeat(1_000), password: PASSWORD },
      { email, password: 'x'.repeat(73) },
    ];
    const answers: unknown[] = [];
    for (const credentials of wrong) {
      runs.mockClear();
      const { status, body, headers } = await auth('login', credentials);
      answers.push({ status, body, names: [...headers.keys()].sort() });
      // The comparison has been made, with a hash that takes as many rounds as a real one.
      expect(runs.mock.settledResults).toEqual([{ type: 'fulfilled', value: false }]);
      const [[task, options] = []] = runs.mock.calls;
      expect(options).toMatchObject({ name: 'verifyPassword' });
      expect(getRounds((task as { hash: string }).hash)).toBe(getRounds(hash));
    }
    expect(answers[0]).toMatchObject({
      status: 401,
      body: { success: false, message: 'Invalid email or password' },
    });
    expect(answers).toEqual(wrong.map(() => answers[0]));
    expect(getRounds(hash)).toBe(12);
  });

  test.each<readonly [string, (key: string) => string]>([
    ['the hash for the key', (key) => `ak_${createHash('sha256').update(key).digest('hex')}`],
    ['a key cut short', (key) => key.slice(0, -1)],
    ['a key with something behind it', (key) => `${key}A`],
    ['a key in capitals', (key) => key.toUpperCase()],
    ['the prefix alone', () => 'ak_'],
    ['a pattern', () => 'ak_%'],
  ])('%s is no API key', async (_, alter) => {
    const { apiKey } = await target.newUser();
    const headers = { 'x-api-key': alter(apiKey) };
    const { status, body } = await target.call('GET', '/api/jobs', { headers });
    expect([status, body]).toEqual([401, { success: false, message: 'Invalid API key' }]);
  });
});

describe('credentials', () => {
  let created: TestDatabase;
  let identity: Identity;

  beforeAll(async () => {
    created = await createTestDatabase();
    identity = createIdentity({
      database: created.database,
      accessKey: createSecretKey(randomBytes(32)),
      refreshKey: createSecretKey(randomBytes(32)),
      accessExpiresIn: '15m',
      refreshExpiresIn: '7d',
      passwords,
    });
  });
  afterAll(() => created.drop());

  async function register(password: string) {
    return identity.register(registrationSchema.parse({ email: address(), password }));
  }
  const logsIn = (email: string, password: string): Promise<boolean> =>
    identity.login({ email, password }).then(
      () => true,
      () => false,
    );

  test.each<readonly [string, string]>([
    ['of 7 characters', '7777777'],
    ['of 73 bytes', 'x'.repeat(73)],
    ['of 37 characters in 74 bytes', 'ü'.repeat(37)],
    ['with NUL, which bcrypt takes for the end', 'password\0rest'],
    ['with half a surrogate pair, of which one is like the other', 'password\ud800'],
  ])('a password %s is refused', (_, password) => {
    const { error } = registrationSchema.safeParse({ email: address(), password });
    expect(error?.issues.map(({ path }) => path)).toEqual([['password']]);
  });

  test('a password of 72 bytes counts to the last of them', async () => {
    const password = 'x'.repeat(72);
    const { email } = await register(password);
    expect(await logsIn(email, password)).toBe(true);
    expect(await logsIn(email, `${password.slice(0, 71)}y`)).toBe(false);
    expect(await logsIn(email, `${password}y`)).toBe(false);
  });

  test('a password is the same however a keyboard composes its letters', async () => {
    for (const form of ['NFC', 'NFD'] as const) {
      const { email } = await register('pässwörd-é'.normalize(form));
      expect(await logsIn(email, 'pässwörd-é'.normalize('NFC'))).toBe(true);
      expect(await logsIn(email, 'pässwörd-é'.normalize('NFD'))).toBe(true);
      expect(await logsIn(email, 'password-e')).toBe(false);
    }
  });

  test('a password is measured as it is hashed: 36 letters of two bytes fit, however they are composed', async () => {
    const password = 'ä'.repeat(36);
    const { email } = await register(password.normalize('NFD'));
    expect(await logsIn(email, password)).toBe(true);
  });

  test('passwords that differ in case, spaces or look-alikes differ', async () => {
    const { email } = await register('Pass word A');
    for (const near of ['pass word a', 'Pass word A ', ' Pass word A', 'Password A', 'Pass word \u0410']) {
      expect(await logsIn(email, near)).toBe(false);
    }
  });

  test('an API key is 256 random bits, of which the database has a hash and nothing else', async () => {
    const { apiKey, id } = await register(PASSWORD);
    expect(apiKey).toMatch(/^ak_[\w-]{43}$/);
    const { rows } = await created.database.query<{ hash: string }>(
      `SELECT encode(key_hash, 'hex') AS hash FROM api_keys WHERE user_id = $1`,
      [id],
    );
    expect(rows).toEqual([{ hash: createHash('sha256').update(apiKey).digest('hex') }]);
    expect(await identity.authenticateApiKey(apiKey)).toBe(id);
  });
});
