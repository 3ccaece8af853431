import type { Request, RequestHandler } from 'express';
import type { Identity } from '../identity/identity.ts';
import { looksLikeApiKey } from '../identity/tokens.ts';
import { AccessTokenRequiredError } from './errors.ts';
import { contextOf } from './request-context.ts';

/**
 * Lets a request through when it shows whose it is: `Authorization: Bearer` with an access token or an API key, or
 * `X-API-Key`.
 */
export function requireUser(identity: Identity): RequestHandler {
  return async (req, res, next) => {
    contextOf(res).userId = await authenticate(identity, req);
    next();
  };
}

async function authenticate(identity: Identity, req: Request): Promise<string> {
  const bearer = /^Bearer +(\S+) *$/i.exec(req.get('authorization') ?? '')?.[1];
  if (bearer !== undefined && !looksLikeApiKey(bearer)) return identity.authenticateToken(bearer);
  const apiKey = bearer ?? req.get('x-api-key');
  if (!apiKey) throw new AccessTokenRequiredError();
  return identity.authenticateApiKey(apiKey);
}
