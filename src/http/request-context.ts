import { randomUUID } from 'node:crypto';
import type { RequestHandler, Response } from 'express';
import type { CommandContext } from '../commands/handle-command.ts';
import type { Logger } from '../logger.ts';

interface RequestContext {
  readonly correlationId: string;
  userId: string | null;
}

const WELL_FORMED = /^[\w.:/+=-]{1,128}$/;
/** Characters of a path in a log line. */
const MAX_LOGGED_PATH = 256;

/**
 * Gives every request an id, the client's own `X-Request-Id` if it has a sound one, sends it back, and logs one line
 * when the answer is out. The query is left out of it: it may hold a token.
 */
export function requestContext(logger: Logger): RequestHandler {
  return (req, res, next) => {
    const began = performance.now();
    const given = req.get('x-request-id');
    const correlationId = given !== undefined && WELL_FORMED.test(given) ? given : randomUUID();
    const context: RequestContext = { correlationId, userId: null };
    res.locals['context'] = context;
    res.set('X-Request-Id', correlationId);
    const path = pathOf(req.originalUrl);
    res.once('close', () => {
      const line = {
        method: req.method,
        path,
        status: res.statusCode,
        ms: Math.round(performance.now() - began),
        correlationId,
        userId: context.userId,
        // The client went away before its answer was out.
        ...(!res.writableFinished && { aborted: true }),
      };
      logger[isProbe(path) ? 'debug' : 'info'](line, 'request');
    });
    next();
  };
}

const isProbe = (path: string): boolean => path === '/healthz' || path === '/readyz';

export function pathOf(url: string): string {
  return (url.split('?', 1)[0] ?? '').slice(0, MAX_LOGGED_PATH);
}

export function contextOf(res: Response): RequestContext {
  return res.locals['context'] as RequestContext;
}

/** Who asks. Only for routes behind `requireUser`. */
export function userOf(res: Response): string {
  const { userId } = contextOf(res);
  if (userId === null) throw new Error('This route does not require a user');
  return userId;
}

export function commandContext(res: Response): CommandContext {
  const { correlationId } = contextOf(res);
  return { actor: { kind: 'user', id: userOf(res) }, correlationId, causationId: correlationId };
}
