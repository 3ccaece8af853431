import { Router } from 'express';
import type { RequestHandler } from 'express';
import { z } from 'zod';
import { registrationSchema } from '../../identity/credentials.ts';
import type { Identity } from '../../identity/identity.ts';
import type { RateLimits } from '../rate-limit.ts';
import { sendSuccess } from '../responses.ts';
import { validate } from '../validation.ts';

/** Any address and password may be tried: what could not be registered is simply wrong. */
const loginSchema = z.object({
  email: z.string({ error: 'Email is required' }).min(1, 'Email is required'),
  password: z.string({ error: 'Password is required' }).min(1, 'Password is required'),
});

const refreshSchema = z.object({
  refreshToken: z.string({ error: 'Refresh token is required' }).min(1, 'Refresh token is required'),
});

export interface AuthRouteOptions {
  readonly identity: Identity;
  readonly json: RequestHandler;
  readonly limits: RateLimits;
}

/** `/api/auth`: accounts and tokens. */
export function authRoutes({ identity, json, limits }: AuthRouteOptions): Router {
  const router = Router();
  router.use((_req, res, next) => {
    res.set('Cache-Control', 'no-store');
    next();
  });

  router.post('/register', limits.registrations, json, async (req, res) => {
    const account = await identity.register(validate(registrationSchema, req.body));
    sendSuccess(res, 'User registered successfully', account, 201);
  });

  router.post('/login', limits.loginsOfAddress, json, limits.loginsOfAccount, async (req, res) => {
    sendSuccess(res, 'Login successful', await identity.login(validate(loginSchema, req.body)));
  });

  router.post('/refresh', limits.tokens, json, async (req, res) => {
    const { refreshToken } = validate(refreshSchema, req.body);
    sendSuccess(res, 'Token refreshed', await identity.refresh(refreshToken));
  });

  router.post('/logout', limits.tokens, json, async (req, res) => {
    await identity.logout(validate(refreshSchema, req.body).refreshToken);
    sendSuccess(res, 'Logout successful');
  });

  return router;
}
