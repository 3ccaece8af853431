import { once } from 'node:events';
import { isAborted, sleep } from '../waiting.ts';
import { claimLease, giveBackLease, LEASE_MS, RENEWALS, renewUntilLost } from './lease.ts';
import type { LeaseOptions } from './lease.ts';

export interface LeadershipOptions extends LeaseOptions {
  /** Ends the candidacy; a held lease is given back, so that a standby takes over at once. */
  readonly signal: AbortSignal;
}

/**
 * Runs `lead` while this process holds the lease `name`, again and again, until the signal. Its own signal aborts when
 * the lease is lost. The lease only keeps two processes from doing the same work; what makes a second leader harmless is the
 * compare-and-set on the checkpoint.
 */
export async function runAsLeader(
  options: LeadershipOptions,
  lead: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const { name, holder, logger, signal, leaseMs = LEASE_MS } = options;
  while (!signal.aborted) {
    const asked = performance.now();
    if ((await claimLease(options)) !== 'held') {
      await sleep((leaseMs / RENEWALS) * (0.5 + Math.random() / 2), signal);
      continue;
    }
    // With the holder: the row in `leases` names no process otherwise.
    logger.info({ lease: name, holder }, 'Leading');
    const term = new AbortController();
    const renewal = renewUntilLost(options, asked, term);
    try {
      await lead(AbortSignal.any([signal, term.signal]));
    } catch (error) {
      logger.error({ lease: name, err: error }, 'Leading failed; standing again');
    } finally {
      term.abort();
      await renewal;
      await giveBackLease(options);
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
