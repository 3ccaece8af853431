import { STATUS_CODES } from 'node:http';
import type { ErrorRequestHandler, RequestHandler, Response } from 'express';
import { AppError, errorMessage } from '../errors.ts';
import type { Logger } from '../logger.ts';
import { MAX_BODY_BYTES, UNSUPPORTED_MEDIA_TYPE } from './json-body.ts';
import { RateLimitedError } from './rate-limit.ts';
import { contextOf, pathOf } from './request-context.ts';
import { RETRY_AFTER, UNAVAILABLE } from './unavailable.ts';
import { ValidationError } from './validation.ts';

/** The status of each code that a client may see. An error with another code is a fault of ours: 500. */
const statuses: Readonly<Record<string, number>> = {
  VALIDATION: 400,
  EMAIL_TAKEN: 400,
  JOB_NOT_CANCELLABLE: 400,
  JOB_NOT_RETRYABLE: 400,
  NOTHING_TO_REDELIVER: 400,
  WEBHOOK_UNDER_WAY: 400,
  PAGE_TOO_LARGE: 400,
  ACCESS_TOKEN_REQUIRED: 401,
  INVALID_ACCESS_TOKEN: 401,
  INVALID_API_KEY: 401,
  INVALID_CREDENTIALS: 401,
  INVALID_REFRESH_TOKEN: 401,
  ROUTE_NOT_FOUND: 404,
  JOB_NOT_FOUND: 404,
  JOB_STATE_NOT_FOUND: 404,
  IDEMPOTENCY_KEY_REUSED: 409,
  JOB_MOVED_ON: 412,
  EVENT_TOO_LARGE: 413,
  INVALID_UTF8: 400,
  UNSUPPORTED_MEDIA_TYPE: 415,
  RATE_LIMITED: 429,
  REVISION_NOT_REACHED: 503,
  UNAVAILABLE: 503,
};

export class AccessTokenRequiredError extends AppError {
  constructor() {
    super('ACCESS_TOKEN_REQUIRED', 'Access token required');
  }
}

class RouteNotFoundError extends AppError {
  constructor() {
    super('ROUTE_NOT_FOUND', 'Route not found');
  }
}

export const routeNotFound: RequestHandler = () => {
  throw new RouteNotFoundError();
};

/** Answers every error in the error format. What the client did not cause is logged in full and answered without detail. */
export function errorHandler(logger: Logger): ErrorRequestHandler {
  // eslint-disable-next-line @typescript-eslint/no-unused-vars -- Express tells an error handler by its four parameters
  return (error: unknown, req, res, _next) => {
    const { status, message } = answerTo(error);
    if (status >= 500) {
      const line = { method: req.method, path: pathOf(req.originalUrl), ...contextOf(res) };
      // Of a part that is away the reason says all, and thousands may be told of it.
      if (status === 503) logger.warn({ reason: errorMessage(error), ...line }, 'Request turned away');
      else logger.error({ err: error, ...line }, 'Request failed');
    }
    if (res.headersSent) {
      res.destroy();
      return;
    }
    sendError(res, status, message, moreAbout(error));
  };
}

function sendError(res: Response, status: number, message: string, more: object): void {
  if (status === 401) res.set('WWW-Authenticate', 'Bearer');
  if (status === 503) res.set('Retry-After', String(RETRY_AFTER));
  if ('retryAfter' in more) res.set('Retry-After', String(more.retryAfter));
  res.status(status).json({ success: false, message, ...more });
}

/** What the answer says beside the message. */
function moreAbout(error: unknown): object {
  if (error instanceof ValidationError) return { errors: error.errors };
  if (error instanceof RateLimitedError) return { retryAfter: error.retryAfter };
  return {};
}

function answerTo(error: unknown): { status: number; message: string } {
  if (error instanceof AppError) {
    const status = statuses[error.code] ?? 500;
    if (error.code === 'UNAVAILABLE') return { status, message: UNAVAILABLE };
    if (error.code === 'EVENT_TOO_LARGE') return { status, message: tooLarge };
    if (status < 500 || error.code === 'REVISION_NOT_REACHED') return { status, message: error.message };
  }
  const status = statusOfRequestError(error);
  if (status === 413) return { status, message: tooLarge };
  if (status === 415) return { status, message: UNSUPPORTED_MEDIA_TYPE };
  if (isTyped(error) && error.type === 'entity.parse.failed') return { status: 400, message: 'Invalid JSON' };
  return {
    status,
    message: status === 500 ? 'Internal server error' : (STATUS_CODES[status] ?? 'Bad Request'),
  };
}

const tooLarge = `Request body too large: at most ${MAX_BODY_BYTES / 1_024} KiB`;

/** Express and its body parser mark what the client did wrong with a status; anything else is ours. */
function statusOfRequestError(error: unknown): number {
  if (!(error instanceof Error) || !('status' in error)) return 500;
  const { status } = error;
  return typeof status === 'number' && status >= 400 && status < 500 ? status : 500;
}

function isTyped(error: unknown): error is { type: unknown } {
  return typeof error === 'object' && error !== null && 'type' in error;
}
