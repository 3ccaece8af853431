import { Router } from 'express';
import type { RequestHandler } from 'express';
import type { WebhookSecret, WebhookSecrets } from '../../identity/webhook-secrets.ts';
import type { RateLimits } from '../rate-limit.ts';
import { userOf } from '../request-context.ts';
import { sendSuccess } from '../responses.ts';

export interface WebhookRouteOptions {
  readonly webhookSecrets: Pick<WebhookSecrets, 'present' | 'rotate'>;
  readonly requireUser: RequestHandler;
  readonly limits: Pick<RateLimits, 'rotations'>;
}

/** `/api/webhooks`: what a user's receivers verify webhooks with. */
export function webhookRoutes({ webhookSecrets, requireUser, limits }: WebhookRouteOptions): Router {
  const router = Router();
  router.use((_req, res, next) => {
    res.set('Cache-Control', 'no-store');
    next();
  });

  router.get('/secret', requireUser, async (_req, res) => {
    const secret = await webhookSecrets.present(userOf(res));
    sendSuccess(res, 'Webhook secret retrieved successfully', known(secret));
  });

  router.post('/secret', requireUser, limits.rotations, async (_req, res) => {
    const secret = await webhookSecrets.rotate(userOf(res));
    sendSuccess(res, 'Webhook secret rotated successfully', known(secret));
  });

  return router;
}

function known(secret: WebhookSecret | null): WebhookSecret {
  if (secret === null) throw new Error('The user of this request does not exist');
  return secret;
}
