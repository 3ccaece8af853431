import { createSecretKey, randomBytes, randomUUID } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { existsSync, linkSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import path from 'node:path';
import { config as loadDotenv } from 'dotenv';
import ms from 'ms';
import { z } from 'zod';
import { readSigningKey } from './audit/signing-key-file.ts';
import { errorMessage, StartupError } from './errors.ts';
import { readOwnFile } from './own-file.ts';

export const ROLES = ['api', 'projector', 'dispatcher', 'worker'] as const;
export type Role = (typeof ROLES)[number];

const duration = z.string().refine(
  // Without a unit it would mean milliseconds here and seconds elsewhere.
  (text) => text.length <= 100 && /[a-z]\s*$/i.test(text) && ms(text as ms.StringValue) > 0,
  'must be a duration with a unit, such as 15m or 7d',
);
const wholeNumber = (least: number, most = Number.MAX_SAFE_INTEGER) =>
  z
    .string()
    .regex(/^\d+$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.int().min(least, `must be at least ${least}`).max(most, `must be at most ${most}`));
const secret = z.string().optional();

const roles = z.string().transform((text, context): Role[] => {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.filter((name) => !ROLES.some((role) => role === name));
  if (unknown.length > 0) {
    context.addIssue(
      `must be a comma-separated list of ${ROLES.join(', ')}; not ${unknown.join(', ') || 'empty'}`,
    );
    return z.NEVER;
  }
  return ROLES.filter((role) => names.includes(role));
});

const origins = z.string().transform((text, context): string[] => {
  const given = text.split(',').map((origin) => origin.trim());
  const wrong = given.filter((origin) => !isOrigin(origin));
  if (wrong.length === 0) return given.map((origin) => new URL(origin).origin);
  context.addIssue(`must be a comma-separated list such as https://app.example.com; not ${wrong.join(', ')}`);
  return z.NEVER;
});

/** An http(s) address without a path: what a browser says of a page. */
function isOrigin(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, href, origin } = new URL(text);
  return /^https?:$/.test(protocol) && href === `${origin}/`;
}

const schema = z.object({
  NODE_ENV: z.enum(['development', 'production', 'test']).default('development'),
  PORT: wholeNumber(0, 65_535).default(3000),
  HOST: z.string().default('0.0.0.0'),
  APP_NAME: z.string().min(1).default('Asyncly'),
  DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/, error: 'must be a postgres:// URL' }).optional(),
  EVENTSTORE_URL: z
    .string()
    .regex(/^(esdb|kurrentdb)(\+discover)?:\/\//, 'must be an esdb:// or kurrentdb:// URL')
    .optional(),
  REDIS_URL: z.url({ protocol: /^rediss?$/, error: 'must be a redis:// or rediss:// URL' }).optional(),
  REDIS_HOST: z.string().optional(),
  REDIS_PORT: wholeNumber(1, 65_535).optional(),
  DATA_DIR: z.string().min(1).default('.asyncly'),
  ROLES: roles.default([...ROLES]),
  WORKER_CONCURRENCY: wholeNumber(1, 1_000).default(10),
  HANDLERS_DIR: z.string().optional(),
  HANDLER_TIME_SCALE: z
    .string()
    .regex(/^\d+(\.\d+)?$/, 'must be a number such as 1 or 0.1')
    .transform(Number)
    .pipe(z.number().max(1_000, 'must be at most 1000'))
    .default(1),
  JOB_MAX_ATTEMPTS: wholeNumber(1, 100).default(3),
  JOB_BACKOFF_MS: wholeNumber(0, 3_600_000).default(1_000),
  WEBHOOK_BACKOFF_MS: wholeNumber(0, 3_600_000).default(2_000),
  WEBHOOK_TIMEOUT_MS: wholeNumber(1, 60_000).default(10_000),
  WEBHOOK_ALLOW_PRIVATE_NETWORKS: z
    .enum(['true', 'false'], 'must be true or false')
    .default('false')
    .transform((text) => text === 'true'),
  REQUEST_PATIENCE_MS: wholeNumber(100, 60_000).default(1_500),
  SHUTDOWN_GRACE_MS: wholeNumber(0, 25_000).default(500),
  RATE_LIMIT_JOBS_PER_MINUTE: wholeNumber(1, 1_000_000).default(10),
  RATE_LIMIT_AUTH_PER_MINUTE: wholeNumber(1, 1_000_000).default(20),
  TRUST_PROXY: wholeNumber(0, 10).default(0),
  ALLOWED_ORIGINS: origins.default([]),
  LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
  JWT_ACCESS_SECRET: secret,
  JWT_REFRESH_SECRET: secret,
  WEBHOOK_SECRET: secret,
  JWT_ACCESS_EXPIRES_IN: duration.default('15m'),
  JWT_REFRESH_EXPIRES_IN: duration.default('7d'),
  AUDIT_SIGNING_KEY_FILE: z.string().optional(),
});

const SECRET_NAMES = ['JWT_ACCESS_SECRET', 'JWT_REFRESH_SECRET', 'WEBHOOK_SECRET'] as const;
type SecretName = (typeof SECRET_NAMES)[number];
/** As short as an HMAC-SHA-256 key may be (RFC 7518, section 3.2: as long as the hash). */
const MIN_SECRET_BYTES = 32;

export type Settings = Omit<
  z.infer<typeof schema>,
  SecretName | 'REDIS_URL' | 'REDIS_HOST' | 'REDIS_PORT' | 'AUDIT_SIGNING_KEY_FILE'
>;

export interface Config extends Settings {
  /** From `REDIS_URL`, or else from host and port; null without Redis. */
  readonly redisUrl: string | null;
  readonly accessKey: KeyObject;
  readonly refreshKey: KeyObject;
  /** The service-wide secret that webhooks are signed with. */
  readonly webhookKey: KeyObject;
  /** Ed25519, private: what seals and exports of the audit trail are signed with; null when they are not. */
  readonly auditKey: KeyObject | null;
  /** What a handler's thread may see of the environment: everything but the service's own secrets and addresses. */
  readonly handlerEnv: Readonly<Record<string, string>>;
}

/**
 * Reads the configuration from the environment and, for what it leaves open, from a `.env` file in the working directory.
 * Outside production, secrets that are not set are generated once and kept in `DATA_DIR`.
 * @throws StartupError naming each variable that is missing or wrong
 */
export function loadConfig(env: NodeJS.ProcessEnv = process.env, dotenvPath = '.env'): Config {
  const fromFile: Record<string, string> = {};
  loadDotenv({ path: dotenvPath, processEnv: fromFile, quiet: true });
  // An empty value means "not set": `PORT= npm start` and a bare `PORT=` line in .env leave the default.
  const given = Object.fromEntries(
    Object.entries({ ...fromFile, ...env }).filter((entry): entry is [string, string] => Boolean(entry[1])),
  );
  const parsed = schema.safeParse(given);
  if (!parsed.success) {
    const wrong = parsed.error.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`);
    throw new StartupError(`Invalid configuration: ${wrong.join('; ')}`);
  }
  const { JWT_ACCESS_SECRET, JWT_REFRESH_SECRET, WEBHOOK_SECRET, ...open } = parsed.data;
  const { REDIS_URL, REDIS_HOST, REDIS_PORT, AUDIT_SIGNING_KEY_FILE, ...settings } = open;
  const secrets = resolveSecrets({ JWT_ACCESS_SECRET, JWT_REFRESH_SECRET, WEBHOOK_SECRET }, settings);
  return {
    ...settings,
    redisUrl: REDIS_URL ?? redisAddress(REDIS_HOST, REDIS_PORT),
    DATA_DIR: path.resolve(settings.DATA_DIR),
    accessKey: createSecretKey(secrets.JWT_ACCESS_SECRET, 'utf8'),
    refreshKey: createSecretKey(secrets.JWT_REFRESH_SECRET, 'utf8'),
    webhookKey: createSecretKey(secrets.WEBHOOK_SECRET, 'utf8'),
    auditKey:
      AUDIT_SIGNING_KEY_FILE === undefined
        ? null
        : readSigningKey('AUDIT_SIGNING_KEY_FILE', AUDIT_SIGNING_KEY_FILE),
    handlerEnv: handlerEnv(given),
  };
}

/** Redis by host and port, each with the usual value when only the other is given. */
function redisAddress(host: string | undefined, port: number | undefined): string | null {
  if (host === undefined && port === undefined) return null;
  const name = host ?? 'localhost';
  return `redis://${isIPv6(name) ? `[${name}]` : name}:${port ?? 6379}`;
}

type GivenSecrets = Readonly<Record<SecretName, string | undefined>>;

function resolveSecrets(given: GivenSecrets, settings: Settings): Record<SecretName, string> {
  const complete =
    settings.NODE_ENV === 'production'
      ? given
      : { ...keptSecrets(given, settings.DATA_DIR), ...withoutUnset(given) };
  for (const [index, name] of SECRET_NAMES.entries()) {
    const value = complete[name];
    if (value === undefined) throw new StartupError(`${name} is not set: NODE_ENV=production needs it`);
    if (settings.NODE_ENV === 'production' && Buffer.byteLength(value) < MIN_SECRET_BYTES) {
      throw new StartupError(`${name} is too short: it needs at least ${MIN_SECRET_BYTES} bytes`);
    }
    const twin = SECRET_NAMES.slice(0, index).find((other) => complete[other] === value);
    if (twin !== undefined) throw new StartupError(`${name} repeats ${twin}: each needs a secret of its own`);
  }
  return complete as Record<SecretName, string>;
}

function withoutUnset(given: GivenSecrets): Partial<Record<SecretName, string>> {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** The secrets generated for this data directory; made and stored on first use. */
function keptSecrets(given: GivenSecrets, dataDir: string): Partial<Record<SecretName, string>> {
  if (SECRET_NAMES.every((name) => given[name] !== undefined)) return {};
  const file = path.join(dataDir, 'secrets.json');
  try {
    if (!existsSync(file)) generateSecrets(file);
    return z.record(z.enum(SECRET_NAMES), z.string()).parse(JSON.parse(readOwnFile(file)));
  } catch (error) {
    const isDamaged = error instanceof SyntaxError || error instanceof z.ZodError;
    const reason = isDamaged
      ? 'it is damaged; without it new ones are made, and everyone has to log in again'
      : errorMessage(error);
    throw new StartupError(`DATA_DIR: cannot keep generated secrets in ${file}: ${reason}`);
  }
}

/** Another process may do so at the same time: the file of the first stays. */
function generateSecrets(file: string): void {
  const fresh = Object.fromEntries(SECRET_NAMES.map((name) => [name, randomBytes(32).toString('base64url')]));
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  try {
    writeSecrets(file, fresh);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** Whole or not at all, and never over a file that exists: several processes may start on one data directory. */
function writeSecrets(file: string, secrets: Record<string, string>): void {
  const draft = `${file}.${randomUUID()}`;
  // Exclusively: whoever else may write here could have put a file of their own, or a link, where the secrets go.
  writeFileSync(draft, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600, flag: 'wx' });
  try {
    linkSync(draft, file);
  } finally {
    rmSync(draft, { force: true });
  }
}

const HIDDEN = /^(AUDIT_|JWT_|WEBHOOK_SECRET|DATABASE_URL|REDIS_|EVENTSTORE_|POSTGRES_|PG)/;

function handlerEnv(given: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(given).filter(([name]) => !HIDDEN.test(name)));
}

/** What only this file has a use for. Others of the hidden ones are read by libraries, the driver's PGPASSWORD for instance. */
const OWN = [...SECRET_NAMES, 'DATABASE_URL', 'EVENTSTORE_URL', 'REDIS_URL', 'AUDIT_SIGNING_KEY_FILE'];

/**
 * Takes the secrets and addresses out of this process's environment once they have been read: the top level of a handler's module, which
 * runs in this process, and child processes find none.
 */
export function clearEnvironment(env: NodeJS.ProcessEnv = process.env): void {
  // eslint-disable-next-line @typescript-eslint/no-dynamic-delete -- an environment variable is unset by deleting it
  for (const name of OWN) delete env[name];
}

/** This process's environment with some variables set otherwise, for a child process; an empty value unsets one. */
export function environmentWith(overrides: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  return { ...process.env, ...overrides };
}
