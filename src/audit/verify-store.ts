import type { Queryable } from '../database.ts';
import type { EventStore } from '../events/event-store.ts';
import { GENESIS } from './chain.ts';
import { checkedWalk, loadKnownEvents } from './checked-walk.ts';
import type { KnownEvents } from './checked-walk.ts';
import { TamperedError } from './finding.ts';
import type { Finding } from './finding.ts';
import { BEGINNING } from './seals.ts';
import type { HeadStatement } from './signing.ts';
import type { Trust } from './trust.ts';

export interface VerifyStoreOptions extends Trust {
  readonly store: EventStore;
  readonly database: Queryable;
  readonly signal: AbortSignal;
  /** @param fraction 0 to 1 */
  readonly onProgress?: (events: number, fraction: number) => void;
}

export interface StoreVerdict {
  /** The first thing that is wrong; null when nothing is. */
  readonly finding: Finding | null;
  /** Events that are as they were: all of them, when nothing is wrong. */
  readonly events: number;
  /** The chain after them, hex. */
  readonly chain: string;
  readonly known: KnownEvents;
  /** The last signature that was verified. */
  readonly signed: HeadStatement | null;
  /** Signatures of keys that were not given. */
  readonly unverified: number;
  /** The event after which the chain is the given root; null without one. */
  readonly rootAt: number | null;
}

/**
 * Reads the whole event store and compares it with everything that was kept of its events, and with what is trusted.
 * @throws UnavailableError, or the signal's reason
 */
export async function verifyStore(options: VerifyStoreOptions): Promise<StoreVerdict> {
  const { store, database, keys, root, signal, onProgress } = options;
  const known = await loadKnownEvents(database);
  const upTo = await store.head();
  const verdict: Mutable<StoreVerdict> = {
    finding: null,
    events: 0,
    chain: GENESIS.toString('hex'),
    known,
    signed: null,
    unverified: 0,
    rootAt: null,
  };
  const wanted = root === null ? null : Buffer.from(root, 'hex');
  try {
    for await (const { events, signed } of checkedWalk({ ...options, start: BEGINNING, upTo, known })) {
      for (const { number, after } of events) if (wanted?.equals(after)) verdict.rootAt = number;
      for (const head of signed) {
        if (keys.has(head.keyId)) verdict.signed = head;
        else verdict.unverified++;
      }
      const last = events.at(-1);
      if (!last) continue;
      verdict.events = last.number;
      verdict.chain = last.after.toString('hex');
      onProgress?.(last.number, last.number / Math.max(known.sealed, last.number + 1));
    }
  } catch (error) {
    if (!(error instanceof TamperedError)) throw error;
    return { ...verdict, finding: error.finding };
  }
  signal.throwIfAborted();
  onProgress?.(verdict.events, 1);
  if (wanted !== null && verdict.rootAt === null) {
    const message = 'The given root is the chain after none of the events: what came before it was changed.';
    return { ...verdict, finding: { problem: 'root', message } };
  }
  return verdict;
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
