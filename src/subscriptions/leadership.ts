import { once } from 'node:events';
import { isAborted, sleep } from '../waiting.ts';
import type { Queryable } from '../database.ts';
import { errorMessage } from '../errors.ts';
import type { Logger } from '../logger.ts';

/** How long a lease lasts without renewal, in milliseconds. */
const LEASE_MS = 5_000;
/** A lease is renewed this many times in its life, and given up on one renewal before its end. */
const RENEWALS = 10 / 3;

export interface LeadershipOptions {
  readonly database: Queryable;
  /** What only one process may do at a time, e.g. `projector`. */
  readonly name: string;
  /** UUID of this process. */
  readonly holder: string;
  readonly logger: Logger;
  /** Ends the candidacy; a held lease is given back, so that a standby takes over at once. */
  readonly signal: AbortSignal;
  /** Default: 5,000. */
  readonly leaseMs?: number;
}

/** `unknown`: Postgres did not say. */
type Claim = 'held' | 'taken' | 'unknown';

/**
 * Runs `lead` while this process holds the lease `name`, again and again, until the signal. Its own signal aborts when
 * the lease is lost. The lease only keeps two processes from doing the same work; what makes a second leader harmless is the
 * compare-and-set on the checkpoint.
 */
export async function runAsLeader(
  options: LeadershipOptions,
  lead: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const { name, logger, signal, leaseMs = LEASE_MS } = options;
  while (!signal.aborted) {
    const asked = performance.now();
    if ((await claim(options, leaseMs)) !== 'held') {
      await sleep((leaseMs / RENEWALS) * (0.5 + Math.random() / 2), signal);
      continue;
    }
    logger.info({ lease: name }, 'Leading');
    const term = new AbortController();
    const renewal = renewUntilLost(options, leaseMs, asked, term);
    try {
      await lead(AbortSignal.any([signal, term.signal]));
    } catch (error) {
      logger.error({ lease: name, err: error }, 'Leading failed; standing again');
    } finally {
      term.abort();
      await renewal;
      await giveBack(options);
    }
    await sleep(Math.random() * (leaseMs / 10), signal);
  }
}

/**
 * What a leader does at the same time: when one part throws, the others are ended too and the error is thrown; parts that
 * return on their own leave the others running, and the lease is kept until the term ends.
 */
export async function leadTogether(
  term: AbortSignal,
  parts: readonly ((signal: AbortSignal) => Promise<void>)[],
): Promise<void> {
  const failed = new AbortController();
  const signal = AbortSignal.any([term, failed.signal]);
  const runs = parts.map((part) =>
    part(signal).catch((error: unknown) => {
      failed.abort();
      throw error;
    }),
  );
  const outcomes = await Promise.allSettled(runs);
  const rejected = outcomes.find((outcome) => outcome.status === 'rejected');
  if (rejected) throw rejected.reason;
  if (!isAborted(term)) await once(term, 'abort');
}

async function claim({ database, name, holder, logger }: LeadershipOptions, leaseMs: number): Promise<Claim> {
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

/** @param heldSince when the statement that won the lease was sent: the row is never older than that */
async function renewUntilLost(
  options: LeadershipOptions,
  leaseMs: number,
  heldSince: number,
  term: AbortController,
): Promise<void> {
  const renewMs = leaseMs / RENEWALS;
  const lose = (): void => {
    if (term.signal.aborted) return;
    options.logger.warn({ lease: options.name }, 'Lease lost; stepping down');
    term.abort();
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
    const answer = await claim(options, leaseMs);
    if (isAborted(term.signal)) break;
    if (answer === 'held') setAlarm(asked);
    else if (answer === 'taken') lose();
  }
  clearTimeout(alarm);
}

async function giveBack({ database, name, holder, logger }: LeadershipOptions): Promise<void> {
  await database
    .query('DELETE FROM leases WHERE name = $1 AND holder = $2', [name, holder])
    .catch((error: unknown) =>
      logger.warn({ lease: name, reason: errorMessage(error) }, 'Lease not given back'),
    );
}
