import { availableParallelism } from 'node:os';
import { Piscina } from 'piscina';
import { UnavailableError } from '../errors.ts';
import { workerThreadFile } from '../worker-thread-file.ts';
import { asHashed, fitsBcrypt } from './credentials.ts';

/** 2^12 rounds, about a quarter of a second; OWASP's password storage cheat sheet asks for 10 at least. */
const DEFAULT_COST = 12;
/** Hashes that may wait, and for how long. What comes on top is turned away: nobody waits a minute for a login. */
const MAX_WAITING = 64;
const MAX_WAIT_MS = 5_000;

export interface Passwords {
  /** @throws UnavailableError when too many hashes wait @throws RangeError when bcrypt would cut the password */
  hash(password: string): Promise<string>;
  /**
   * Takes the same time whether there is a hash or not, so that the answer's delay does not tell who is registered.
   * @param stored null for an unknown user: false
   * @throws UnavailableError when too many hashes wait
   */
  verify(password: string, stored: string | null): Promise<boolean>;
  /** Ends the threads, and the hashes under way with them. Idempotent. */
  close(): Promise<void>;
}

/**
 * bcrypt in worker threads: it never blocks the event loop.
 * @param cost binary logarithm of the rounds, 4 to 31
 * @param longestWait milliseconds that a hash may have to wait for others, going by what they took so far
 */
export function createPasswords(cost = DEFAULT_COST, longestWait = MAX_WAIT_MS): Passwords {
  const threads = Math.max(1, Math.min(4, availableParallelism() - 1));
  const pool = new Piscina({
    ...workerThreadFile('password-thread', import.meta.url),
    minThreads: 0,
    maxThreads: threads,
    maxQueue: MAX_WAITING,
    idleTimeout: 60_000,
  });
  // A well-formed hash of no password anyone knows.
  const nobody = `$2b$${String(cost).padStart(2, '0')}$${'.'.repeat(53)}`;
  let closing: Promise<void> | null = null;

  /** Milliseconds that a hash takes, as the last ones did. */
  function hashTime(): number {
    const { mean } = pool.histogram.runTime;
    return Number.isFinite(mean) ? mean : 0;
  }

  async function run<T>(name: string, task: unknown): Promise<T> {
    const waiting = pool.queueSize;
    if (waiting >= MAX_WAITING || (waiting * hashTime()) / threads > longestWait) {
      throw new UnavailableError('passwords', `${waiting} passwords wait to be hashed already`);
    }
    return (await pool.run(task, { name })) as T;
  }

  return {
    async hash(given) {
      const password = asHashed(given);
      if (!fitsBcrypt(password)) throw new RangeError('bcrypt would cut this password');
      return run<string>('hashPassword', { password, cost });
    },
    async verify(given, stored) {
      const password = asHashed(given);
      const fits = fitsBcrypt(password);
      const matches = await run<boolean>('verifyPassword', {
        password: fits ? password : '',
        hash: stored ?? nobody,
      });
      return fits && stored !== null && matches;
    },
    close: () => (closing ??= pool.destroy()),
  };
}
