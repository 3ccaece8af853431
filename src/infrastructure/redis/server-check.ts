import type { Redis } from 'ioredis';
import { StartupError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';

/** The least that BullMQ recommends. */
const LEAST_VERSION = [6, 2] as const;

/** Whether Redis has answered, and will not have us: that does not get better by waiting. */
export function isRefusal({ message }: Error): boolean {
  return /^(WRONGPASS|NOAUTH|NOPERM|ERR (invalid password|Client sent AUTH|DB index|invalid DB))/.test(
    message,
  );
}

export function refused(reason: string): StartupError {
  return new StartupError(`REDIS_URL: Redis refuses the connection: ${reason}`);
}

/**
 * Looks at what kind of Redis this is, and warns when it may throw queue entries away.
 * @throws StartupError when it is none that we can use
 */
export async function checkServer(redis: Redis, logger: Logger): Promise<void> {
  const about = await redis.info().then(fieldsOf, () => null);
  // Whoever may not ask is not told; Redis that is gone again will be missed elsewhere.
  if (about === null) return;
  const version = about.get('redis_version') ?? '';
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [leastMajor, leastMinor] = LEAST_VERSION;
  if (major < leastMajor || (major === leastMajor && minor < leastMinor)) {
    throw new StartupError(
      `REDIS_URL: Redis ${LEAST_VERSION.join('.')} or newer is needed; this is ${version}`,
    );
  }
  if (about.get('redis_mode') === 'cluster') {
    throw new StartupError('REDIS_URL: a Redis Cluster cannot be used; a single Redis with replicas can');
  }
  const policy = about.get('maxmemory_policy');
  if (policy !== undefined && policy !== 'noeviction') {
    logger.warn(
      { policy },
      "Redis may throw queue entries away when its memory is full: set maxmemory-policy to 'noeviction'",
    );
  }
}

function fieldsOf(info: string): ReadonlyMap<string, string> {
  return new Map(
    info.split('\r\n').map((line): [string, string] => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon), line.slice(colon + 1)];
    }),
  );
}
