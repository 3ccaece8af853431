import type { KeyObject } from 'node:crypto';
import ms from 'ms';
import { v7 as uuidv7 } from 'uuid';
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
import { createTokens, newApiKey, sha256 } from './tokens.ts';

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
  /** Ends the hashing threads. Idempotent. */
  close(): Promise<void>;
}

export function createIdentity(options: IdentityOptions): Identity {
  const { database, accessKey, refreshKey, accessExpiresIn, refreshExpiresIn } = options;
  const { clock = Date.now, passwords = createPasswords() } = options;
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
      const { token, expiresAt } = refresh.issue(user.id);
      await store.addRefreshToken({
        hash: sha256(token),
        userId: user.id,
        expiresAt,
        now: new Date(clock()),
      });
      return { accessToken: access.issue(user.id).token, refreshToken: token };
    },

    async refresh(refreshToken) {
      const userId = refresh.verify(refreshToken);
      if (userId === null) throw new InvalidRefreshTokenError();
      if ((await store.refreshTokenOwner(sha256(refreshToken))) !== userId)
        throw new InvalidRefreshTokenError();
      return { accessToken: access.issue(userId).token };
    },

    async logout(refreshToken) {
      await store.removeRefreshToken(sha256(refreshToken));
    },

    authenticateToken(accessToken) {
      const userId = access.verify(accessToken);
      if (userId === null) throw new InvalidAccessTokenError();
      return userId;
    },

    async authenticateApiKey(apiKey) {
      const userId = await store.apiKeyOwner(sha256(apiKey));
      if (userId === null) throw new InvalidApiKeyError();
      return userId;
    },

    close: () => passwords.close(),
  };
}

function milliseconds(duration: string): number {
  const parsed = ms(duration as ms.StringValue) as number | undefined;
  if (parsed === undefined || !(parsed > 0))
    throw new RangeError(`${duration} is not a duration such as 15m or 7d`);
  return parsed;
}
