import { createSecretKey, randomUUID } from 'node:crypto';
import { createIdentityStore } from '../../src/identity/identity-store.ts';
import { createTokens, newApiKey, sha256 } from '../../src/identity/tokens.ts';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import type { PostgresDatabase } from '../../src/infrastructure/postgres/database.ts';
import { silentLogger } from './database.ts';
import { httpClient } from './http-client.ts';
import type { Call } from './http-client.ts';
import { startService, testSecrets } from './service.ts';
import type { Service, ServiceSettings } from './service.ts';

/** An account with everything that lets its owner in. */
export interface TargetUser {
  readonly id: string;
  readonly apiKey: string;
  readonly accessToken: string;
  readonly refreshToken: string;
}

/** A whole service for a test file to attack, and a way behind it. */
export interface Target extends Service {
  /** Paths begin with `/api`. */
  readonly call: Call;
  readonly database: PostgresDatabase;
  /** Written into the tables: the hash of a password, a quarter of a second, is for tests that are about passwords. */
  newUser(): Promise<TargetUser>;
}

const MINUTE = 60_000;
const clock = Date.now;

/** What the service's own tokens are made with: for tokens as nobody else could make them. */
export const accessKey = createSecretKey(testSecrets.JWT_ACCESS_SECRET, 'utf8');
export const refreshKey = createSecretKey(testSecrets.JWT_REFRESH_SECRET, 'utf8');
const access = createTokens({ kind: 'access', key: accessKey, lifetime: 15 * MINUTE, clock });
const refresh = createTokens({ kind: 'refresh', key: refreshKey, lifetime: 60 * MINUTE, clock });

/** Starts a service with room for what tests submit; see `startService`. */
export async function startTarget(settings: ServiceSettings = {}): Promise<Target> {
  const service = await startService({ RATE_LIMIT_JOBS_PER_MINUTE: '100000', ...settings });
  const database = createDatabase({
    url: service.databaseUrl,
    max: 2,
    applicationName: 'test',
    logger: silentLogger,
  });
  const identities = createIdentityStore(database);
  return {
    ...service,
    call: httpClient(service.base),
    database,
    async newUser() {
      const [id, sessionId, apiKey, now] = [randomUUID(), randomUUID(), newApiKey(), new Date()];
      const user = { id, email: `${id}@example.com`, passwordHash: '', createdAt: now };
      await identities.addUser(user, sha256(apiKey));
      const { token: refreshToken, expiresAt } = refresh.issue(id, sessionId);
      await identities.addRefreshToken({ hash: sha256(refreshToken), userId: id, sessionId, expiresAt, now });
      return { id, apiKey, refreshToken, accessToken: access.issue(id, sessionId).token };
    },
    async stop() {
      await database.close();
      await service.stop();
    },
  };
}
