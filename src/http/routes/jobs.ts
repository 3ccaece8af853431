import { Router } from 'express';
import type { Request, RequestHandler, Response } from 'express';
import { v7 as uuidv7, validate as isUuid } from 'uuid';
import type { CommandContext, CommandOutcome, HandleJobCommand } from '../../commands/handle-command.ts';
import { JobNotFoundError } from '../../commands/job-decider.ts';
import type { JobCommand } from '../../commands/job-decider.ts';
import type { Job } from '../../events/job.ts';
import type { CachedJobQueries } from '../../queries/cached-jobs.ts';
import type { JobHistory } from '../../queries/job-history.ts';
import type { JobLogQueries } from '../../queries/job-logs.ts';
import { allowedRevisions, hasAlready, setRevision } from '../conditional.ts';
import { hashOfRequest, idempotencyKeyOf, jobIdOfKey } from '../idempotency.ts';
import type { JsonObject } from '../json-payload.ts';
import type { RateLimits } from '../rate-limit.ts';
import { commandContext, userOf } from '../request-context.ts';
import { sendPage, sendSuccess } from '../responses.ts';
import { validate, ValidationError } from '../validation.ts';
import type { FieldErrors } from '../validation.ts';
import {
  cancelJobSchema,
  getJobSchema,
  jobLogsSchema,
  listJobsSchema,
  newJobSchema,
  startTimeOf,
} from './job-schemas.ts';
import type { NewJob } from './job-schemas.ts';
import { jobView } from './job-view.ts';

type CreateJob = Extract<JobCommand, { type: 'CreateJob' }>;

interface HandlerLimits {
  readonly timeoutMs: number | null;
  readonly maxAttempts: number | null;
}

export interface JobRouteOptions {
  readonly handleJob: HandleJobCommand;
  readonly jobs: CachedJobQueries;
  readonly jobHistory: Pick<JobHistory, 'jobAt'>;
  readonly jobLogs: JobLogQueries;
  /** What the handler of a job type says of a payload; null when it is fine, or the handler or its schema is not known here. */
  readonly checkPayload: (type: string, payload: JsonObject) => FieldErrors | null;
  /** What the handler of a job type allows an attempt and a round; null where it names nothing, or is not known here. */
  readonly limitsOf: (type: string) => HandlerLimits | null;
  /** What is wrong with a URL as the destination of a webhook; null when nothing is. */
  readonly checkWebhookUrl: (url: string) => string | null;
  readonly requireUser: RequestHandler;
  readonly limits: RateLimits;
  readonly json: RequestHandler;
}

/** `/api/jobs`: commands go to the event store, reads come from the read models. */
export function jobRoutes(options: JobRouteOptions): Router {
  const { handleJob, jobs, jobHistory, jobLogs, checkPayload, limitsOf, checkWebhookUrl } = options;
  const { requireUser, json, limits } = options;
  const router = Router();
  router.use((_req, res, next) => {
    res.set('Cache-Control', 'private, no-cache');
    next();
  });

  /** What the rules of this process, which another may not have or had, say of a submission. */
  function problemsOf(request: NewJob): FieldErrors | null {
    const { type, payload, webhookUrl } = request;
    const urlProblem = webhookUrl === null ? null : checkWebhookUrl(webhookUrl);
    if (urlProblem !== null) return { webhookUrl: [urlProblem] };
    const problems = checkPayload(type, payload);
    return beyond(request, limitsOf(type)) ?? (problems && underPayload(problems));
  }

  /**
   * For a submission that would be refused: rules that have become stricter are asked of new ones alone. Nothing is read for others.
   * @throws ValidationError when its key has made no job; IdempotencyKeyReusedError
   */
  async function replay(
    { jobId, userId, requestHash }: Pick<CreateJob, 'jobId' | 'userId' | 'requestHash'>,
    problems: FieldErrors,
    context: CommandContext,
  ): Promise<CommandOutcome> {
    if (requestHash === null) throw new ValidationError(problems);
    try {
      return await handleJob(jobId, { type: 'ReplayJob', userId, requestHash }, context);
    } catch (error) {
      throw error instanceof JobNotFoundError ? new ValidationError(problems) : error;
    }
  }

  // Who asks is settled first: a stranger's half megabyte is not even read.
  router.post('/', requireUser, limits.submissions, json, async (req, res) => {
    const key = idempotencyKeyOf(req);
    const request = validate(newJobSchema, req.body);
    const problems = problemsOf(request);
    const userId = userOf(res);
    const jobId = key === null ? uuidv7() : jobIdOfKey(userId, key);
    const requestHash = key === null ? null : hashOfRequest(request);
    const { type, delayMs, runAt, ...submission } = request;
    const command: CreateJob = {
      ...submission,
      type: 'CreateJob',
      jobId,
      userId,
      jobType: type,
      runAt: startTimeOf({ delayMs, runAt }),
      requestHash,
    };
    const context = commandContext(res);
    const { job, events } = await (problems === null
      ? handleJob(jobId, command, context)
      : replay(command, problems, context));
    if (events.length === 0) {
      res.set('Idempotent-Replayed', 'true');
      await limits.forgiveReplay(req, res);
    }
    res.location(`/api/jobs/${jobId}`);
    setRevision(res, job);
    sendSuccess(res, 'Job created successfully', jobView(job), 201);
  });

  router.get('/', requireUser, async (req, res) => {
    const { page, limit, status = null } = validate(listJobsSchema, req.query);
    const found = await jobs.list(userOf(res), { page, limit, status });
    sendPage(res, 'Jobs retrieved successfully', found.jobs.map(jobView), {
      page,
      limit,
      total: found.total,
    });
  });

  router.get('/:id', requireUser, async (req, res) => {
    const { minRevision, moment } = validate(getJobSchema, req.query);
    if (moment !== null) {
      // Folded from the stream, past the cache.
      const job = await jobHistory.jobAt(jobIdOf(req), userOf(res), moment);
      if (job === null) throw new JobNotFoundError();
      sendJob(req, res, job);
      return;
    }
    const found = await jobs.find(jobIdOf(req), userOf(res), minRevision);
    if (found === null) throw new JobNotFoundError();
    res.set('X-Cache', found.cached ? 'HIT' : 'MISS');
    sendJob(req, res, found.job);
  });

  router.delete('/:id', requireUser, async (req, res) => {
    const force = validate(cancelJobSchema, req.query).force === 'true';
    const ifRevisions = allowedRevisions(req);
    const command = { type: 'CancelJob', userId: userOf(res), force, ifRevisions } as const;
    const { job } = await handleJob(jobIdOf(req), command, commandContext(res));
    setRevision(res, job);
    const { id, status, cancelRequested, updatedAt } = job;
    if (cancelRequested) {
      sendSuccess(res, 'Job cancellation requested', { id, status, cancelRequested, updatedAt });
    } else sendSuccess(res, 'Job cancelled successfully', { id, status, updatedAt });
  });

  router.post('/:id/retry', requireUser, limits.retries, async (req, res) => {
    const command = { type: 'RetryJob', userId: userOf(res), ifRevisions: allowedRevisions(req) } as const;
    const { job } = await handleJob(jobIdOf(req), command, commandContext(res));
    setRevision(res, job);
    sendSuccess(res, 'Job submitted again', jobView(job));
  });

  router.get('/:id/logs', requireUser, async (req, res) => {
    const { page, limit } = validate(jobLogsSchema, req.query);
    const id = jobIdOf(req);
    if ((await jobs.get(id, userOf(res))) === null) throw new JobNotFoundError();
    const { lines, total } = await jobLogs.list(id, { page, limit });
    sendPage(res, 'Job logs retrieved successfully', lines, { page, limit, total });
  });

  return router;
}

function sendJob(req: Request, res: Response, job: Job): void {
  setRevision(res, job);
  if (hasAlready(req, job)) res.status(304).end();
  else sendSuccess(res, 'Job retrieved successfully', jobView(job));
}

/** @throws JobNotFoundError for what cannot be a job's id */
export function jobIdOf(req: Request): string {
  const { id } = req.params;
  if (typeof id !== 'string' || !isUuid(id)) throw new JobNotFoundError();
  return id.toLowerCase();
}

/** What a submission asks for beyond what the handler allows: that is refused, not cut, as its sender would count on it. */
function beyond(
  request: { readonly type: string } & HandlerLimits,
  allowed: HandlerLimits | null,
): FieldErrors | null {
  const fields = (['timeoutMs', 'maxAttempts'] as const).flatMap((field): [string, string[]][] => {
    const [asked, most] = [request[field], allowed?.[field] ?? null];
    if (asked === null || most === null || asked <= most) return [];
    return [[field, [`${field} must be at most ${most} for the job type ${request.type}`]]];
  });
  return fields.length > 0 ? Object.fromEntries(fields) : null;
}

function underPayload(problems: FieldErrors): FieldErrors {
  return Object.fromEntries(
    Object.entries(problems).map(([field, texts]) => [field === '' ? 'payload' : `payload.${field}`, texts]),
  );
}
