import type { KeyObject } from 'node:crypto';
import ms from 'ms';
import { v4 as uuidv4, v7 as uuidv7 } from 'uuid';
import type { Database } from '../database.ts';
import type { Credentials } from './credentials.ts';
import {
  EmailTakenError,
  InvalidAccessTokenError,
  InvalidApiKeyError,
  InvalidCredentialsError,
  InvalidRefreshTokenError,
} from './errors.ts';
import { createIdentityStore } from './identity-store.ts';
import { createPasswords } from './passwords.ts';
import type { Passwords } from './passwords.ts';
import { createTokens, looksLikeApiKey, newApiKey, sha256 } from './tokens.ts';

export interface IdentityOptions {
  readonly database: Database;
  readonly accessKey: KeyObject;
  readonly refreshKey: KeyObject;
  /** A duration as `ms` reads it, e.g. `15m`. */
  readonly accessExpiresIn: string;
  readonly refreshExpiresIn: string;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
  /** Taken over and closed with the identity; default: one of its own, at the usual cost. */
  readonly passwords?: Passwords;
  /** Told of each session that a logout has ended. */
  readonly sessionEnded?: (sessionId: string) => void;
}

/** What a connection that stays open was let in with. */
export interface Grant {
  readonly userId: string;
  /** Milliseconds since the epoch; null for an API key, which does not expire. */
  readonly expiresAt: number | null;
  /** The login an access token comes from; null for an API key. */
  readonly sessionId: string | null;
  /** SHA-256 of an API key in hex; null for an access token. */
  readonly apiKeyHash: string | null;
}

interface Registration {
  readonly id: string;
  readonly email: string;
  /** In clear for this once: only its hash is kept. */
  readonly apiKey: string;
  /** ISO 8601, UTC. */
  readonly createdAt: string;
}

export interface Identity {
  /** @param credentials as `registrationSchema` lets them through @throws EmailTakenError UnavailableError */
  register(credentials: Credentials): Promise<Registration>;
  /** @throws InvalidCredentialsError UnavailableError */
  login(credentials: Credentials): Promise<{ readonly accessToken: string; readonly refreshToken: string }>;
  /** A new access token; the refresh token stays usable. @throws InvalidRefreshTokenError */
  refresh(refreshToken: string): Promise<{ readonly accessToken: string }>;
  /** Ends a refresh token. One that is not in force any more, or never was, is as ended as it can be. */
  logout(refreshToken: string): Promise<void>;
  /** @returns the id of the user an access token was issued to @throws InvalidAccessTokenError */
  authenticateToken(accessToken: string): string;
  /** @returns the id of the key's owner @throws InvalidApiKeyError */
  authenticateApiKey(apiKey: string): Promise<string>;
  /**
   * Lets a connection in that is to stay open. Stricter than a request: a session must not have been logged out of.
   * @param credential an access token or an API key
   * @throws InvalidAccessTokenError InvalidApiKeyError UnavailableError
   */
  grant(credential: string): Promise<Grant>;
  /** Those of the grants that are no longer good: expired, logged out of, or of a key that is gone. @throws UnavailableError */
  findRevoked(grants: readonly Grant[]): Promise<ReadonlySet<Grant>>;
  /** Ends the hashing threads. Idempotent. */
  close(): Promise<void>;
}

export function createIdentity(options: IdentityOptions): Identity {
  const { database, accessKey, refreshKey, accessExpiresIn, refreshExpiresIn } = options;
  const { clock = Date.now, passwords = createPasswords(), sessionEnded } = options;
  const store = createIdentityStore(database);
  const access = createTokens({
    kind: 'access',
    key: accessKey,
    lifetime: milliseconds(accessExpiresIn),
    clock,
  });
  const refresh = createTokens({
    kind: 'refresh',
    key: refreshKey,
    lifetime: milliseconds(refreshExpiresIn),
    clock,
  });

  async function findRevoked(grants: readonly Grant[]): Promise<Set<Grant>> {
    const sessions = grants.flatMap(({ sessionId }) => sessionId ?? []);
    const keys = grants.flatMap(({ apiKeyHash }) => apiKeyHash ?? []);
    const [liveSessions, liveKeys] = await Promise.all([
      sessions.length > 0 ? store.liveSessions(sessions) : new Set<string>(),
      keys.length > 0 ? store.liveApiKeys(keys) : new Set<string>(),
    ]);
    const now = clock();
    const isGood = ({ expiresAt, sessionId, apiKeyHash }: Grant): boolean =>
      (expiresAt === null || now < expiresAt) &&
      (sessionId === null || liveSessions.has(sessionId)) &&
      (apiKeyHash === null || liveKeys.has(apiKeyHash));
    return new Set(grants.filter((grant) => !isGood(grant)));
  }

  return {
    async register({ email, password }) {
      // Saves the hash in the usual case; the unique index decides.
      if ((await store.findUser(email)) !== null) throw new EmailTakenError();
      const passwordHash = await passwords.hash(password);
      const now = clock();
      const user = { id: uuidv7({ msecs: now }), email, passwordHash, createdAt: new Date(now) };
      const apiKey = newApiKey();
      if (!(await store.addUser(user, sha256(apiKey)))) throw new EmailTakenError();
      return { id: user.id, email, apiKey, createdAt: user.createdAt.toISOString() };
    },

    async login({ email, password }) {
      const user = await store.findUser(email);
      const matches = await passwords.verify(password, user?.passwordHash ?? null);
      if (user === null || !matches) throw new InvalidCredentialsError();
      const sessionId = uuidv4();
      const { token, expiresAt } = refresh.issue(user.id, sessionId);
      const now = new Date(clock());
      await store.addRefreshToken({ hash: sha256(token), userId: user.id, sessionId, expiresAt, now });
      return { accessToken: access.issue(user.id, sessionId).token, refreshToken: token };
    },

    async refresh(refreshToken) {
      const claims = refresh.verify(refreshToken);
      if (claims === null) throw new InvalidRefreshTokenError();
      const { userId, sessionId } = claims;
      if ((await store.refreshTokenOwner(sha256(refreshToken))) !== userId)
        throw new InvalidRefreshTokenError();
      return { accessToken: access.issue(userId, sessionId).token };
    },

    async logout(refreshToken) {
      const sessionId = await store.removeRefreshToken(sha256(refreshToken));
      if (sessionId !== null) sessionEnded?.(sessionId);
    },

    authenticateToken(accessToken) {
      const claims = access.verify(accessToken);
      if (claims === null) throw new InvalidAccessTokenError();
      return claims.userId;
    },

    async authenticateApiKey(apiKey) {
      const userId = await store.apiKeyOwner(sha256(apiKey));
      if (userId === null) throw new InvalidApiKeyError();
      return userId;
    },

    async grant(credential) {
      if (looksLikeApiKey(credential)) {
        const hash = sha256(credential);
        const userId = await store.apiKeyOwner(hash);
        if (userId === null) throw new InvalidApiKeyError();
        return { userId, expiresAt: null, sessionId: null, apiKeyHash: hash.toString('hex') };
      }
      const claims = access.verify(credential);
      if (claims === null) throw new InvalidAccessTokenError();
      const { userId, sessionId, expiresAt } = claims;
      const grant = { userId, expiresAt: expiresAt.getTime(), sessionId, apiKeyHash: null };
      if ((await findRevoked([grant])).size > 0) throw new InvalidAccessTokenError();
      return grant;
    },

    findRevoked,

    close: () => passwords.close(),
  };
}

function milliseconds(duration: string): number {
  const parsed = ms(duration as ms.StringValue) as number | undefined;
  if (parsed === undefined || !(parsed > 0))
    throw new RangeError(`${duration} is not a duration such as 15m or 7d`);
  return parsed;
}
