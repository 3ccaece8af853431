import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import type { Request, RequestHandler, Response } from 'express';
import { ipKeyGenerator, rateLimit } from 'express-rate-limit';
import type { RateLimitInfo, Store } from 'express-rate-limit';
import { AppError } from '../errors.ts';
import { userOf } from './request-context.ts';

export interface RateLimitOptions {
  /** Job submissions a minute and user. */
  readonly jobsPerMinute: number;
  /** Logins a minute for one account from one address, and registrations a minute from one address. */
  readonly authPerMinute: number;
  /**
   * Where the limiter of this name counts; two limiters never share a store. Default: in this process, so that
   * several api processes each allow the whole number.
   */
  readonly createStore?: (name: string) => Store;
}

/** Each counts a request and turns it away when its minute is used up. */
export interface RateLimits {
  /** For `POST /api/jobs`, behind `requireUser`. */
  readonly submissions: RequestHandler;
  /**
   * Takes a counted submission back, which only asked again for a job that is there: as often a minute as jobs may be submitted.
   * From then on such a one counts like any other.
   */
  readonly forgiveReplay: (req: Request, res: Response) => Promise<void>;
  /** For a user's retries of ended jobs, behind `requireUser`. */
  readonly retries: RequestHandler;
  /** For a user's webhooks that are to be sent again, behind `requireUser`. */
  readonly redeliveries: RequestHandler;
  /** For a user's new webhook secrets, behind `requireUser`. */
  readonly rotations: RequestHandler;
  readonly registrations: RequestHandler;
  /** All logins from an address, whatever the account: to stand in front of the body parser. */
  readonly loginsOfAddress: RequestHandler;
  /** Logins to one account from one address: to stand behind the body parser. */
  readonly loginsOfAccount: RequestHandler;
  /** Refreshes and logouts of an address. */
  readonly tokens: RequestHandler;
}

export class RateLimitedError extends AppError {
  /** Whole seconds. */
  readonly retryAfter: number;

  constructor(what: string, retryAfter: number) {
    super('RATE_LIMITED', `Too many requests. ${what} per minute. Try again in ${retryAfter} seconds.`, {
      retryAfter,
    });
    this.retryAfter = retryAfter;
  }
}

const WINDOW_MS = 60_000;
/** People who share an address, behind a company's gateway, log in and refresh this many times as often as one of them. */
const SHARED_ADDRESS = 5;
/** What one provider's customer has at the least; counting single IPv6 addresses would count nothing. */
const IPV6_PREFIX = 56;

/**
 * A minute begins with a key's first request. An account is counted together with the address that tries it: whoever guesses at it
 * from elsewhere cannot keep its owner out.
 */
export function createRateLimits({
  jobsPerMinute,
  authPerMinute,
  createStore,
}: RateLimitOptions): RateLimits {
  const limiter = (
    name: string,
    limit: number,
    keyOf: (req: Request, res: Response) => string,
    what: (limit: number) => string,
    isForgiven: (req: Request, res: Response) => boolean = () => false,
  ): RequestHandler => {
    const count = rateLimit({
      windowMs: WINDOW_MS,
      limit,
      keyGenerator: keyOf,
      // Its own reset header is a point in time; the contract wants the seconds left.
      legacyHeaders: false,
      standardHeaders: false,
      requestPropertyName: name,
      skipSuccessfulRequests: true,
      requestWasSuccessful: isForgiven,
      handler: (req, res, next) => {
        const info = infoOf(req, name);
        setHeaders(res, info);
        next(new RateLimitedError(what(limit), secondsLeft(info)));
      },
      // It would print to the console, past the logger, when a client sends X-Forwarded-For.
      validate: false,
      ...(createStore && { store: createStore(name) }),
    });
    return (req, res, next) =>
      void count(req, res, (error?: unknown) => {
        if (error === undefined) setHeaders(res, infoOf(req, name));
        next(error);
      });
  };

  const submitted = (limit: number): string => `You can submit a maximum of ${limit} jobs`;
  const replays = limiter('replays', jobsPerMinute, byUser, submitted);
  const replayed = new WeakSet<Response>();
  const isOurFault = (_req: Request, res: Response): boolean => res.statusCode === 503;

  return {
    submissions: limiter(
      'submissions',
      jobsPerMinute,
      byUser,
      submitted,
      (req, res) => replayed.has(res) || isOurFault(req, res),
    ),
    forgiveReplay: (req, res) =>
      new Promise((resolve) => {
        replays(req, res, (turnedAway?: unknown) => {
          const info = infoOf(req, 'submissions');
          if (turnedAway === undefined) replayed.add(res);
          setHeaders(res, turnedAway === undefined ? { ...info, remaining: info.remaining + 1 } : info);
          resolve();
        });
      }),
    retries: limiter(
      'retries',
      jobsPerMinute,
      byUser,
      (limit) => `You can retry a maximum of ${limit} jobs`,
      isOurFault,
    ),
    redeliveries: limiter(
      'redeliveries',
      jobsPerMinute,
      byUser,
      (limit) => `You can have a maximum of ${limit} webhooks sent again`,
      isOurFault,
    ),
    rotations: limiter(
      'rotations',
      jobsPerMinute,
      byUser,
      (limit) => `You can make a maximum of ${limit} webhook secrets`,
      isOurFault,
    ),
    registrations: limiter(
      'registrations',
      authPerMinute,
      byAddress,
      (limit) => `You can register a maximum of ${limit} accounts`,
    ),
    loginsOfAddress: limiter('logins-of-address', authPerMinute * SHARED_ADDRESS, byAddress, logins),
    loginsOfAccount: limiter('logins-of-account', authPerMinute, byAccountAndAddress, logins),
    tokens: limiter(
      'tokens',
      authPerMinute * SHARED_ADDRESS,
      byAddress,
      (limit) => `You can refresh or end a maximum of ${limit} sessions`,
    ),
  };
}

const logins = (limit: number): string => `You can log in a maximum of ${limit} times`;

const byUser = (_req: Request, res: Response): string => userOf(res);

/** Characters of what a proxy says instead of an address that count: it may be kilobytes. */
const MAX_OTHER = 64;

/** A connection that is gone has no address any more, and nobody to answer. */
function byAddress({ ip = 'gone' }: Request): string {
  // Some proxies add the client's port, which is another one for each connection.
  const address = /^(?:(\d+\.\d+\.\d+\.\d+)(?::\d+)?|\[([\da-f:.]+)\](?::\d+)?)$/i.exec(ip);
  const bare = address?.[1] ?? address?.[2] ?? ip;
  return isIP(bare) === 0 ? bare.slice(0, MAX_OTHER) : ipKeyGenerator(bare, IPV6_PREFIX);
}

/** Hashed, since what is given for an address may be half a megabyte long. */
function byAccountAndAddress(req: Request): string {
  const body: unknown = req.body;
  const email = typeof body === 'object' && body !== null && 'email' in body ? body.email : null;
  const account = typeof email === 'string' ? email.toLowerCase() : '';
  return createHash('sha256')
    .update(`${byAddress(req)} ${account}`)
    .digest('base64url');
}

function infoOf(req: Request, name: string): RateLimitInfo {
  return (req as unknown as Record<string, RateLimitInfo>)[name] as RateLimitInfo;
}

function setHeaders(res: Response, info: RateLimitInfo): void {
  res.set('X-RateLimit-Limit', String(info.limit));
  res.set('X-RateLimit-Remaining', String(info.remaining));
  res.set('X-RateLimit-Reset', String(secondsLeft(info)));
}

function secondsLeft({ resetTime }: RateLimitInfo): number {
  const left = resetTime === undefined ? WINDOW_MS : resetTime.getTime() - Date.now();
  return Math.min(Math.max(1, Math.ceil(left / 1_000)), WINDOW_MS / 1_000);
}
