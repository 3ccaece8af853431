import { AppError, UnavailableError } from '../errors.ts';
import { sleep } from '../waiting.ts';
import { claimLease, giveBackLease, LEASE_MS, renewUntilLost } from './lease.ts';
import type { LeaseOptions } from './lease.ts';

/** Another process is at it. */
export class LeaseTakenError extends AppError {
  constructor(name: string) {
    super('LEASE_TAKEN', `Another process holds the lease ${name} and renews it`, { name });
  }
}

/**
 * Does `work` once, under a lease that only one process has. A holder that was killed is waited for until its lease is over; one
 * that renews it is alive. The work's signal aborts when the lease is lost or the given signal aborts.
 * @throws LeaseTakenError another process has the lease and lives
 */
export async function runUnderLease<T>(
  options: LeaseOptions & { readonly signal: AbortSignal },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const heldSince = await takeLease(options);
  const term = new AbortController();
  const renewal = renewUntilLost(options, heldSince, term);
  try {
    return await work(AbortSignal.any([options.signal, term.signal]));
  } finally {
    term.abort();
    await renewal;
    await giveBackLease(options);
  }
}

interface LeaseRow {
  readonly holder: string;
  readonly expires: string;
}

/** @returns when the statement that won it was sent */
async function takeLease(options: LeaseOptions & { readonly signal: AbortSignal }): Promise<number> {
  const { database, name, signal, leaseMs = LEASE_MS } = options;
  const deadline = performance.now() + 3 * leaseMs;
  let seen: LeaseRow | undefined;
  while (performance.now() < deadline) {
    signal.throwIfAborted();
    const asked = performance.now();
    if ((await claimLease(options)) === 'held') return asked;
    const { rows } = await database.query<LeaseRow>(
      'SELECT holder, expires_at::text AS expires FROM leases WHERE name = $1',
      [name],
    );
    const [row] = rows;
    if (row && seen && (row.holder !== seen.holder || row.expires !== seen.expires)) {
      throw new LeaseTakenError(name);
    }
    seen = row ?? seen;
    await sleep(leaseMs / 10, signal);
  }
  throw new UnavailableError('postgres', `The lease ${name} can be neither had nor seen to be in use`);
}
