import { Router } from 'express';
import type { RequestHandler } from 'express';
import type { JobStatsQueries } from '../../queries/job-stats.ts';
import { userOf } from '../request-context.ts';
import { sendSuccess } from '../responses.ts';
import { validate, ValidationError } from '../validation.ts';
import { MAX_STATS_ENTRIES, statsSchema } from './stats-schema.ts';

export interface StatsRouteOptions {
  readonly jobStats: JobStatsQueries;
  readonly requireUser: RequestHandler;
}

/** `/api/stats`: what happened to a user's jobs, by day and type. */
export function statsRoutes({ jobStats, requireUser }: StatsRouteOptions): Router {
  const router = Router();
  router.use((_req, res, next) => {
    res.set('Cache-Control', 'private, no-cache');
    next();
  });

  router.get('/', requireUser, async (req, res) => {
    const filter = validate(statsSchema, req.query);
    const stats = await jobStats.get(userOf(res), filter, MAX_STATS_ENTRIES);
    if (stats === null) {
      const limit = MAX_STATS_ENTRIES.toLocaleString('en');
      throw new ValidationError({
        from: [`The span has more than ${limit} entries of a day and a type: give a shorter one, or a type`],
      });
    }
    sendSuccess(res, 'Job statistics retrieved successfully', { ...filter, ...stats });
  });

  return router;
}
