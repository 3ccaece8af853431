import { Router } from 'express';
import type { RequestHandler } from 'express';
import { JobNotFoundError } from '../../commands/job-decider.ts';
import { TrailPlaceError } from '../../queries/job-history.ts';
import type { JobHistory } from '../../queries/job-history.ts';
import { TRAIL_START } from '../../queries/job-trail.ts';
import type { TrailPlace } from '../../queries/job-trail.ts';
import { userOf } from '../request-context.ts';
import { sendCursorPage } from '../responses.ts';
import { decodeTrailCursor, encodeTrailCursor } from '../trail-cursor.ts';
import { validate, ValidationError } from '../validation.ts';
import { jobEventView } from './job-event-view.ts';
import { jobIdOf } from './jobs.ts';
import { jobEventsSchema } from './job-schemas.ts';

export interface JobEventRouteOptions {
  readonly jobHistory: Pick<JobHistory, 'trail'>;
  readonly requireUser: RequestHandler;
}

/** What is on record of a job. */
export function jobEventRoutes({ jobHistory, requireUser }: JobEventRouteOptions): Router {
  const router = Router();

  router.get('/:id/events', requireUser, async (req, res) => {
    const { limit, cursor } = validate(jobEventsSchema, req.query);
    const id = jobIdOf(req);
    const from = placeOf(id, cursor);
    const page = await jobHistory.trail(id, userOf(res), { from, limit }).catch((error: unknown) => {
      throw error instanceof TrailPlaceError ? noCursor() : error;
    });
    if (page === null) throw new JobNotFoundError();
    sendCursorPage(res, 'Job events retrieved successfully', page.events.map(jobEventView), {
      limit,
      hasNextPage: page.more,
      nextCursor: encodeTrailCursor(id, page.next),
    });
  });

  return router;
}

/** @throws ValidationError */
function placeOf(jobId: string, cursor: string | undefined): TrailPlace {
  const place = cursor === undefined ? TRAIL_START : decodeTrailCursor(jobId, cursor);
  if (place === null) throw noCursor();
  return place;
}

const noCursor = (): ValidationError =>
  new ValidationError({ cursor: ['cursor must be a nextCursor of this job'] });
