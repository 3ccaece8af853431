import type { Queryable } from '../database.ts';
import { AppError, errorMessage } from '../errors.ts';
import type { Logger } from '../logger.ts';
import { isAborted, sleep } from '../waiting.ts';

/** How long a lease lasts without renewal, in milliseconds. */
export const LEASE_MS = 5_000;
/** A lease is renewed this many times in its life, and given up on one renewal before its end. */
export const RENEWALS = 10 / 3;

export interface LeaseOptions {
  readonly database: Queryable;
  /** What only one process may do at a time, e.g. `projector`. */
  readonly name: string;
  /** UUID of this process. */
  readonly holder: string;
  readonly logger: Logger;
  /** Default: 5,000. */
  readonly leaseMs?: number;
}

/** `unknown`: Postgres did not say. */
type Claim = 'held' | 'taken' | 'unknown';

/** This process is no longer the one that may do it. */
class LeaseLostError extends AppError {
  constructor(name: string) {
    super('LEASE_LOST', `The lease ${name} was lost: Postgres was away or slow, or this process was`, {
      name,
    });
  }
}

/** Takes the lease, or renews it. */
export async function claimLease({
  database,
  name,
  holder,
  logger,
  leaseMs = LEASE_MS,
}: LeaseOptions): Promise<Claim> {
  try {
    const { rowCount } = await database.query(
      `INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, clock_timestamp() + $3 * interval '1 ms')
       ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
       WHERE leases.holder = excluded.holder OR leases.expires_at < clock_timestamp()`,
      [name, holder, leaseMs],
    );
    return rowCount === 1 ? 'held' : 'taken';
  } catch (error) {
    logger.warn({ lease: name, reason: errorMessage(error) }, 'Lease not reachable');
    return 'unknown';
  }
}

/**
 * Renews a lease until the term ends, and ends the term when that does not work.
 * @param heldSince when the statement that won the lease was sent: the row is never older than that
 */
export async function renewUntilLost(
  options: LeaseOptions,
  heldSince: number,
  term: AbortController,
): Promise<void> {
  const { leaseMs = LEASE_MS } = options;
  const renewMs = leaseMs / RENEWALS;
  const lose = (): void => {
    if (term.signal.aborted) return;
    options.logger.warn({ lease: options.name }, 'Lease lost; stepping down');
    term.abort(new LeaseLostError(options.name));
  };
  // A timer of its own, so that a statement that hangs cannot hold back the alarm.
  let alarm: NodeJS.Timeout | undefined;
  const setAlarm = (since: number): void => {
    clearTimeout(alarm);
    alarm = setTimeout(lose, since + leaseMs - renewMs - performance.now());
  };
  setAlarm(heldSince);
  while (!term.signal.aborted) {
    await sleep(renewMs, term.signal);
    if (isAborted(term.signal)) break;
    const asked = performance.now();
    const answer = await claimLease(options);
    if (isAborted(term.signal)) break;
    if (answer === 'held') setAlarm(asked);
    else if (answer === 'taken') lose();
  }
  clearTimeout(alarm);
}

/** Lets the next one have it at once. */
export async function giveBackLease({ database, name, holder, logger }: LeaseOptions): Promise<void> {
  await database
    .query('DELETE FROM leases WHERE name = $1 AND holder = $2', [name, holder])
    .catch((error: unknown) =>
      logger.warn({ lease: name, reason: errorMessage(error) }, 'Lease not given back'),
    );
}
