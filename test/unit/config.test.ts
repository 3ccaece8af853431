import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { StartupError } from '../../src/errors.ts';

function setup(dotenv?: string) {
  const folder = mkdtempSync(path.join(tmpdir(), 'asyncly-config-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const dotenvPath = path.join(folder, '.env');
  if (dotenv !== undefined) writeFileSync(dotenvPath, dotenv);
  const dataDir = path.join(folder, 'data');
  const load = (env: Record<string, string> = {}) => loadConfig({ DATA_DIR: dataDir, ...env }, dotenvPath);
  return { load, dataDir, secretsFile: path.join(dataDir, 'secrets.json') };
}

const secret = (letter: string): string => letter.repeat(32);
const productionSecrets = {
  NODE_ENV: 'production',
  JWT_ACCESS_SECRET: secret('a'),
  JWT_REFRESH_SECRET: secret('b'),
  WEBHOOK_SECRET: secret('c'),
};

describe('loadConfig', () => {
  it('has a default for everything', () => {
    const { load, dataDir } = setup();
    expect(load()).toMatchObject({
      NODE_ENV: 'development',
      PORT: 3000,
      DATA_DIR: dataDir,
      ROLES: ['api', 'projector', 'dispatcher', 'worker'],
      WORKER_CONCURRENCY: 10,
      HANDLER_TIME_SCALE: 1,
      JOB_MAX_ATTEMPTS: 3,
      JOB_BACKOFF_MS: 1_000,
      WEBHOOK_BACKOFF_MS: 2_000,
      WEBHOOK_TIMEOUT_MS: 10_000,
      WEBHOOK_ALLOW_PRIVATE_NETWORKS: false,
      JWT_ACCESS_EXPIRES_IN: '15m',
      JWT_REFRESH_EXPIRES_IN: '7d',
      LOG_LEVEL: 'info',
      // Whoever waits for a part that is away is promised an answer within 2 s: half a second is for all the rest.
      REQUEST_PATIENCE_MS: 1_500,
    });
    expect(load().DATABASE_URL).toBeUndefined();
  });

  it('finds Redis by its URL, or else by host and port', () => {
    const { load } = setup();
    expect(load().redisUrl).toBeNull();
    expect(load({ REDIS_HOST: 'cache' }).redisUrl).toBe('redis://cache:6379');
    expect(load({ REDIS_PORT: '7000' }).redisUrl).toBe('redis://localhost:7000');
    expect(load({ REDIS_HOST: '::1', REDIS_PORT: '7000' }).redisUrl).toBe('redis://[::1]:7000');
    const url = 'rediss://user:secret@cache:6380/2';
    expect(load({ REDIS_URL: url, REDIS_HOST: 'other' }).redisUrl).toBe(url);
  });

  it.each(['EVENTSTORE_URL', 'REDIS_URL'])('does not repeat the password of a %s it refuses', (name) => {
    const { load } = setup();
    expect(() => load({ [name]: 'http://admin:changeit@host' })).toThrow(
      new RegExp(`^(?!.*changeit).*${name} must be`),
    );
  });

  it('reads origins as browsers write them', () => {
    const { ALLOWED_ORIGINS } = setup().load({
      ALLOWED_ORIGINS: 'https://App.example.com:443/, http://localhost:5173',
    });
    expect(ALLOWED_ORIGINS).toEqual(['https://app.example.com', 'http://localhost:5173']);
    expect(setup().load().ALLOWED_ORIGINS).toEqual([]);
  });

  it.each([
    ['NODE_ENV', 'live'],
    ['PORT', '65536'],
    ['PORT', '-1'],
    ['PORT', '3000x'],
    ['DATABASE_URL', 'mysql://localhost/x'],
    ['DATABASE_URL', 'localhost'],
    ['ALLOWED_ORIGINS', 'app.example.com'],
    ['ALLOWED_ORIGINS', 'https://app.example.com/path'],
    ['ALLOWED_ORIGINS', 'https://app.example.com,*'],
    ['ROLES', 'api,cook'],
    ['ROLES', ','],
    ['WORKER_CONCURRENCY', '0'],
    ['HANDLER_TIME_SCALE', 'fast'],
    ['HANDLER_TIME_SCALE', '9'.repeat(400)],
    ['JOB_MAX_ATTEMPTS', '0'],
    ['JOB_BACKOFF_MS', '1.5'],
    ['WEBHOOK_BACKOFF_MS', '-1'],
    ['WEBHOOK_TIMEOUT_MS', '0'],
    ['WEBHOOK_ALLOW_PRIVATE_NETWORKS', 'yes'],
    ['TRUST_PROXY', 'true'],
    ['LOG_LEVEL', 'loud'],
    ['JWT_ACCESS_EXPIRES_IN', 'soon'],
    ['JWT_ACCESS_EXPIRES_IN', '900'],
    ['JWT_ACCESS_EXPIRES_IN', '1'.repeat(200)],
    ['JWT_REFRESH_EXPIRES_IN', '-1d'],
    ['JWT_REFRESH_EXPIRES_IN', '0'],
  ])('refuses %s=%s, naming it', (name, value) => {
    const { load } = setup();
    expect(() => load({ [name]: value })).toThrow(StartupError);
    expect(() => load({ [name]: value })).toThrow(name);
  });

  it('names every variable that is wrong', () => {
    const { load } = setup();
    expect(() => load({ PORT: 'x', LOG_LEVEL: 'loud' })).toThrow(/PORT .*LOG_LEVEL /);
  });

  it('reads a .env file for what the environment leaves open', () => {
    const { load } = setup('PORT=4000\nAPP_NAME="From a file"\n');
    expect(load({ PORT: '5000' })).toMatchObject({ PORT: 5000, APP_NAME: 'From a file' });
  });

  it('takes an empty value for one that is not set', () => {
    const { load } = setup('LOG_LEVEL=\n');
    expect(load({ PORT: '', DATABASE_URL: '' })).toMatchObject({ PORT: 3000, LOG_LEVEL: 'info' });
  });

  it('hands no secret and no address of its own to handlers', () => {
    const { load } = setup('WEBHOOK_SECRET=from-a-file\nSMTP_HOST=mail\n');
    const { handlerEnv } = load({
      DATABASE_URL: 'postgres://a:b@localhost/x',
      JWT_ACCESS_SECRET: secret('a'),
      REDIS_URL: 'redis://localhost',
      PGPASSWORD: 'x',
      HOME: '/home/someone',
    });
    expect(Object.keys(handlerEnv).sort()).toEqual(['DATA_DIR', 'HOME', 'SMTP_HOST']);
  });
});

describe('secrets in production', () => {
  it('are taken as given, and nothing is written', () => {
    const { load, dataDir } = setup();
    const { accessKey, refreshKey, webhookKey } = load(productionSecrets);
    expect(accessKey.export().toString()).toBe(secret('a'));
    expect(refreshKey.export().toString()).toBe(secret('b'));
    expect(webhookKey.export().toString()).toBe(secret('c'));
    expect(() => statSync(dataDir)).toThrow('ENOENT');
  });

  it.each(['JWT_ACCESS_SECRET', 'JWT_REFRESH_SECRET', 'WEBHOOK_SECRET'])(
    '%s must be set and long',
    (name) => {
      const { load } = setup();
      expect(() => load({ ...productionSecrets, [name]: '' })).toThrow(`${name} is not set`);
      expect(() => load({ ...productionSecrets, [name]: 'x'.repeat(31) })).toThrow(`${name} is too short`);
    },
  );

  it('must differ', () => {
    const { load } = setup();
    const repeated = { ...productionSecrets, WEBHOOK_SECRET: secret('a') };
    expect(() => load(repeated)).toThrow(/WEBHOOK_SECRET repeats JWT_ACCESS_SECRET/);
  });

  it('never stand in an error', () => {
    const { load } = setup();
    const given = { ...productionSecrets, JWT_REFRESH_SECRET: 'only-20-bytes-long-x', PORT: '3000' };
    expect(() => load(given)).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining('only-20') as string }),
    );
  });
});

describe('secrets outside production', () => {
  it('are made once, kept for the owner alone, and stay', () => {
    const { load, secretsFile } = setup();
    const first = load();
    expect(statSync(secretsFile).mode & 0o777).toBe(0o600);
    const second = load();
    expect(second.accessKey.equals(first.accessKey)).toBe(true);
    expect(second.refreshKey.equals(first.refreshKey)).toBe(true);
    expect(first.accessKey.equals(first.refreshKey)).toBe(false);
  });

  it('may be given in part', () => {
    const { load } = setup();
    const kept = load();
    const { accessKey, refreshKey } = load({ JWT_ACCESS_SECRET: 'short is fine here' });
    expect(accessKey.export().toString()).toBe('short is fine here');
    expect(refreshKey.equals(kept.refreshKey)).toBe(true);
  });

  it('are the same for processes that start at once', async () => {
    const { dataDir } = setup();
    const config = new URL('../../src/config.ts', import.meta.url).href;
    const script = `import { loadConfig } from ${JSON.stringify(config)};
      const { accessKey } = loadConfig({ DATA_DIR: ${JSON.stringify(dataDir)} }, '/nowhere');
      process.stdout.write(accessKey.export().toString());`;
    const run = () =>
      promisify(execFile)(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script]);
    const outputs = await Promise.all([run(), run()]);
    expect(outputs[0].stdout).toHaveLength(43);
    expect(outputs[1].stdout).toBe(outputs[0].stdout);
  });

  it('leave a file that is broken alone and say which', () => {
    const { load, secretsFile } = setup();
    load();
    writeFileSync(secretsFile, '{"JWT_ACCESS_SECRET":');
    expect(() => load()).toThrow(`DATA_DIR: cannot keep generated secrets in ${secretsFile}: it is damaged;`);
    expect(readFileSync(secretsFile, 'utf8')).toBe('{"JWT_ACCESS_SECRET":');
  });
});

describe('AUDIT_SIGNING_KEY_FILE', () => {
  function keyFile(content: string): string {
    const folder = mkdtempSync(path.join(tmpdir(), 'asyncly-key-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const file = path.join(folder, 'audit.pem');
    writeFileSync(file, content);
    return file;
  }
  const pem = (type: 'ed25519' | 'x25519', passphrase?: string): string =>
    generateKeyPairSync(type as 'ed25519').privateKey.export({
      type: 'pkcs8',
      format: 'pem',
      ...(passphrase !== undefined && { cipher: 'aes-256-cbc', passphrase }),
    }) as string;

  it('is not needed, and names an Ed25519 key', () => {
    const { load } = setup();
    expect(load().auditKey).toBeNull();
    const file = keyFile(pem('ed25519'));
    const { auditKey, handlerEnv } = load({ AUDIT_SIGNING_KEY_FILE: file });
    expect(auditKey).toMatchObject({ type: 'private', asymmetricKeyType: 'ed25519' });
    expect(handlerEnv).not.toHaveProperty('AUDIT_SIGNING_KEY_FILE');
  });

  it.each([
    ['another kind of key', pem('x25519'), 'holds a key of type x25519: it has to be Ed25519'],
    [
      'a key with a passphrase',
      pem('ed25519', 'secret'),
      'holds no private key in PEM form without a passphrase',
    ],
    [
      'a public key',
      generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }) as string,
      'holds no private key in PEM form without a passphrase',
    ],
    ['nothing', '', 'holds no private key in PEM form without a passphrase'],
  ])('refuses %s', (_, content, reason) => {
    const { load } = setup();
    const file = keyFile(content);
    expect(() => load({ AUDIT_SIGNING_KEY_FILE: file })).toThrow(
      new StartupError(`AUDIT_SIGNING_KEY_FILE ${file} ${reason}`),
    );
  });

  it('refuses a file that is not there', () => {
    const { load } = setup();
    expect(() => load({ AUDIT_SIGNING_KEY_FILE: '/nowhere/audit.pem' })).toThrow(
      /^AUDIT_SIGNING_KEY_FILE \/nowhere\/audit\.pem cannot be read: ENOENT/,
    );
  });
});
