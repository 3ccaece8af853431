import { createHash, randomBytes, randomUUID } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';

const ISSUER = 'asyncly';
const AUDIENCE = 'asyncly-api';

/** Milliseconds by which the clock of the process that issued a token may be ahead of ours. */
const MAX_CLOCK_SKEW = 60_000;
/** Tokens that were found to be good and are not looked into again, the last ones used: some 5 MB. */
const MAX_VERIFIED = 10_000;

/**
 * Of every token of ours, and nothing else: what names a key, or an extension that we would have to understand (`crit`), is
 * not of our making.
 */
const ourHeader = z.strictObject({ alg: z.literal('HS256'), typ: z.literal('JWT') });

type TokenKind = 'access' | 'refresh';

export interface TokenOptions {
  readonly kind: TokenKind;
  /** At least 32 bytes, and not the other kind's: a KeyObject, since a string costs 0.4 ms a check. */
  readonly key: KeyObject;
  /** Milliseconds, rounded up to whole seconds. */
  readonly lifetime: number;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
}

/** What a token says. */
interface TokenClaims {
  readonly userId: string;
  /** The login it comes from: a UUID shared by the refresh token and every access token made from it. */
  readonly sessionId: string;
  readonly expiresAt: Date;
}

export interface Tokens {
  /** A new token for a user's session; no two are the same. */
  issue(userId: string, sessionId: string): { readonly token: string; readonly expiresAt: Date };
  /** @returns null when the token is not one of ours, of another kind, or expired */
  verify(token: string): TokenClaims | null;
}

/** JSON Web Tokens of one kind, signed with HS256. */
export function createTokens({ kind, key, lifetime, clock }: TokenOptions): Tokens {
  const claims = z.object({
    sub: z.uuid(),
    sid: z.uuid(),
    typ: z.literal(kind),
    iat: z.int(),
    exp: z.int(),
    jti: z.string(),
  });
  const verified = new LRUCache<string, TokenClaims>({ max: MAX_VERIFIED });

  function lookInto(token: string, now: number): TokenClaims | null {
    try {
      const { header, payload } = jwt.verify(token, key, {
        algorithms: ['HS256'],
        issuer: ISSUER,
        audience: AUDIENCE,
        clockTimestamp: Math.floor(now / 1_000),
        complete: true,
      });
      const { data } = claims.safeParse(payload);
      if (!data || !ourHeader.safeParse(header).success) return null;
      if (data.iat * 1_000 > now + MAX_CLOCK_SKEW) return null;
      return { userId: data.sub, sessionId: data.sid, expiresAt: new Date(data.exp * 1_000) };
    } catch (error) {
      // The library takes it for granted that a payload in JSON is an object.
      if (error instanceof SyntaxError || error instanceof TypeError) return null;
      if (error instanceof jwt.JsonWebTokenError) return null;
      throw error;
    }
  }

  return {
    issue(userId, sessionId) {
      const iat = Math.floor(clock() / 1_000);
      const exp = iat + Math.ceil(lifetime / 1_000);
      const token = jwt.sign({ typ: kind, sid: sessionId, iat, exp }, key, {
        algorithm: 'HS256',
        issuer: ISSUER,
        audience: AUDIENCE,
        subject: userId,
        // Two logins in the same second must not share a token: the logout of one would end the other.
        jwtid: randomUUID(),
      });
      return { token, expiresAt: new Date(exp * 1_000) };
    },

    // What a token says of itself never changes but for its end.
    verify(token) {
      const now = clock();
      const known = verified.get(token);
      if (known !== undefined) return now < known.expiresAt.getTime() ? known : null;
      const found = lookInto(token, now);
      if (found !== null) verified.set(token, found);
      return found;
    },
  };
}

const API_KEY_PREFIX = 'ak_';

/** A new API key: 256 random bits. */
export function newApiKey(): string {
  return API_KEY_PREFIX + randomBytes(32).toString('base64url');
}

export function looksLikeApiKey(text: string): boolean {
  return text.startsWith(API_KEY_PREFIX);
}

/** How keys and refresh tokens are stored. They are random enough that a slow hash would add nothing. */
export function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
