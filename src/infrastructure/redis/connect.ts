import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { errorMessage } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { within } from '../../waiting.ts';
import { checkServer, isRefusal, refused } from './server-check.ts';

/** How long commands wait, and for what; the names are ioredis's. */
export interface ConnectionLimits {
  readonly enableOfflineQueue?: boolean;
  readonly maxRetriesPerRequest?: number | null;
  readonly autoResendUnfulfilledCommands?: boolean;
  readonly autoResubscribe?: boolean;
  readonly commandTimeout?: number;
  readonly socketTimeout?: number;
  readonly enableAutoPipelining?: boolean;
}

/** The connections of this process to one Redis. They come back by themselves, however long it was away. */
export interface RedisConnections {
  /** For single commands: each is answered within two seconds or rejects, at once while Redis is away. See also {@link soon}. */
  readonly shared: Redis;
  /**
   * One more connection, closed with the others.
   * @param name shown by `CLIENT LIST`
   * @param signal ends the attempts to come back, those of a duplicate of the connection too
   */
  open(name: string, limits: ConnectionLimits, signal?: AbortSignal): Redis;
  /** Idempotent. */
  close(): Promise<void>;
}

export interface RedisConnectOptions {
  /** `redis://` or `rediss://`, with user, password and database number as needed. */
  readonly url: string;
  readonly logger: Logger;
  /** How long start-up waits for Redis, in milliseconds. Default: 2,000. */
  readonly waitMs?: number;
}

/** Milliseconds until a command counts as lost, and its connection with it. */
const ANSWER_MS = 2_000;
/** Milliseconds that a request waits for what it can do without. */
const REQUEST_WAIT_MS = 250;
const CLOSE_MS = 3_000;
const RETRY_MS = { first: 50, most: 2_000 };

/**
 * Options of connections whose commands reject soon instead of waiting for Redis.
 * @param milliseconds until a command, or the connection with all of them, counts as lost
 */
export function failingFast(milliseconds: number): ConnectionLimits {
  return {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    commandTimeout: milliseconds,
    socketTimeout: milliseconds,
  };
}

/**
 * Connects to Redis. That it is away keeps nobody from starting: everything that Redis does for the service can wait, or is done
 * without it.
 * @throws StartupError when Redis refuses us, or is none that we can use
 */
export async function openRedis({
  url,
  logger,
  waitMs = 2_000,
}: RedisConnectOptions): Promise<RedisConnections> {
  const opened = new Set<Redis>();
  let closing: Promise<void> | null = null;

  function open(name: string, limits: ConnectionLimits, signal?: AbortSignal): Redis {
    const redis = new Redis(url, { ...commonOptions(name, signal), ...limits });
    // The shared connection tells of outages; without a listener each of them would print every attempt.
    redis.on('error', (error) =>
      logger.debug({ connection: name, reason: reasonOf(error) }, 'Redis connection'),
    );
    opened.add(redis);
    redis.once('end', () => opened.delete(redis));
    return redis;
  }

  // What is asked for in one turn of the event loop goes to Redis together.
  const shared = open('shared', { ...failingFast(ANSWER_MS), enableAutoPipelining: true });
  const connections: RedisConnections = {
    shared,
    open,
    async close() {
      await (closing ??= Promise.all([...opened].map(endConnection)).then(() => undefined));
    },
  };

  try {
    const problem = await firstContact(shared, waitMs);
    tellOfOutages(shared, logger, { problem, isClosing: () => closing !== null });
    if (problem === null) await checkServer(shared, logger);
    else {
      shared.once('ready', () => {
        checkServer(shared, logger).catch((error: unknown) => logger.error(errorMessage(error)));
      });
    }
  } catch (error) {
    await connections.close();
    throw error;
  }
  return connections;
}

function commonOptions(name: string, signal?: AbortSignal) {
  return {
    connectTimeout: ANSWER_MS,
    retryStrategy: (times: number) =>
      signal?.aborted === true
        ? null
        : Math.min(RETRY_MS.first * 2 ** Math.min(times, 16), RETRY_MS.most) * (0.5 + Math.random() / 2),
    // After a failover the old primary takes no writes; the address leads to the new one.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
    connectionName: `asyncly-${name}`,
  };
}

/** Redis has not answered as soon as a request needs it; it may yet. */
export class LateAnswerError extends Error {
  constructor() {
    super(`No answer within ${REQUEST_WAIT_MS} ms`);
  }
}

/** An answer of the shared connection, for a request that goes on without it. @throws LateAnswerError after a quarter of a second */
export function soon<T>(answer: Promise<T>): Promise<T> {
  return within(answer, REQUEST_WAIT_MS, () => new LateAnswerError());
}

/** Says once that Redis went away and once that it is back, not at every attempt in between. */
function tellOfOutages(
  redis: Redis,
  logger: Logger,
  { problem, isClosing }: { problem: string | null; isClosing: () => boolean },
): void {
  let away = false;
  const lost = (reason: string): void => {
    if (away || isClosing()) return;
    away = true;
    logger.warn({ reason }, 'Redis does not answer; going on without it until it is back');
  };
  if (problem !== null) lost(problem);
  redis.on('error', (error) => lost(reasonOf(error)));
  redis.on('close', () => lost('the connection was closed'));
  redis.on('ready', () => {
    if (away) logger.info('Redis is back');
    away = false;
  });
}

/** Resolves when the connection can be used, or cannot be made now. */
export function untilTried(redis: Redis): Promise<void> {
  return new Promise((resolve) => {
    const tried = (): void => {
      for (const event of ['ready', 'error', 'end']) redis.off(event, tried);
      resolve();
    };
    if (redis.status === 'ready') tried();
    else for (const event of ['ready', 'error', 'end']) redis.on(event, tried);
  });
}

/** @returns null when Redis answers, else what stood in the way until the time was up @throws StartupError when it refuses us */
function firstContact(redis: Redis, waitMs: number): Promise<string | null> {
  return new Promise((resolve, reject) => {
    let problem = 'no answer';
    const timer = setTimeout(() => settle(() => resolve(problem)), waitMs);
    const onReady = (): void => settle(() => resolve(null));
    const onError = (error: Error): void => {
      problem = reasonOf(error);
      if (isRefusal(error)) settle(() => reject(refused(problem)));
    };
    function settle(done: () => void): void {
      clearTimeout(timer);
      redis.off('ready', onReady);
      redis.off('error', onError);
      done();
    }
    redis.on('ready', onReady);
    redis.on('error', onError);
  });
}

/** Ends a connection, whatever state it is in, within three seconds. Idempotent. */
export async function endConnection(redis: Redis): Promise<void> {
  // Between two attempts there is no socket whose end could be waited for.
  const isOpen = ['connecting', 'connect', 'ready'].includes(redis.status);
  const ended = isOpen ? new Promise<void>((resolve) => redis.once('end', resolve)) : Promise.resolve();
  redis.disconnect();
  await Promise.race([ended, delay(CLOSE_MS, undefined, { ref: false })]);
}

/** Several addresses that all failed come as an error without a message. */
function reasonOf(error: Error): string {
  return error.message || String((error as NodeJS.ErrnoException).code);
}
