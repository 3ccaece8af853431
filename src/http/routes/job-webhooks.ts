import { Router } from 'express';
import type { RequestHandler } from 'express';
import { z } from 'zod';
import { JobNotFoundError } from '../../commands/job-decider.ts';
import type { RequestRedelivery } from '../../commands/webhook-commands.ts';
import type { JobQueries } from '../../queries/jobs.ts';
import type { WebhookLogQueries } from '../../queries/webhook-logs.ts';
import type { RateLimits } from '../rate-limit.ts';
import { commandContext, userOf } from '../request-context.ts';
import { sendPage, sendSuccess } from '../responses.ts';
import { validate } from '../validation.ts';
import { webhookLogsSchema } from './job-schemas.ts';
import { jobIdOf } from './jobs.ts';

export interface JobWebhookRouteOptions {
  readonly jobs: Pick<JobQueries, 'get'>;
  readonly webhookLogs: WebhookLogQueries;
  readonly requestRedelivery: RequestRedelivery;
  readonly requireUser: RequestHandler;
  readonly json: RequestHandler;
  readonly limits: RateLimits;
}

const redeliverSchema = z.object({
  round: z.int('round must be a whole number').min(1, 'round must be at least 1').nullish(),
});

/** What `/api/jobs` says of a job's webhooks, and sending one again. */
export function jobWebhookRoutes(options: JobWebhookRouteOptions): Router {
  const { jobs, webhookLogs, requestRedelivery, requireUser, json, limits } = options;
  const router = Router();

  router.get('/:id/webhook-logs', requireUser, async (req, res) => {
    const { page, limit } = validate(webhookLogsSchema, req.query);
    const id = jobIdOf(req);
    if ((await jobs.get(id, userOf(res))) === null) throw new JobNotFoundError();
    const { entries, total } = await webhookLogs.list(id, { page, limit });
    sendPage(res, 'Webhook logs retrieved successfully', entries, { page, limit, total });
  });

  router.post('/:id/webhook/redeliver', requireUser, limits.redeliveries, json, async (req, res) => {
    const { round } = validate(redeliverSchema, req.body);
    const jobId = jobIdOf(req);
    const request = { jobId, userId: userOf(res), round: round ?? null };
    const next = await requestRedelivery(request, commandContext(res));
    sendSuccess(res, 'Webhook redelivery requested successfully', { jobId, ...next });
  });

  return router;
}
