import type { Queryable } from '../database.ts';
import { explainDifference } from './explain-difference.ts';
import { eventsFrom, TamperedError } from './finding.ts';
import { loadHashes, loadHead, loadLastSignedHead, loadSeals, loadSignedHeads } from './seals.ts';
import type { Seal, SignedHead } from './seals.ts';
import { headText, isSignedBy } from './signing.ts';
import type { PublicKeys } from './signing.ts';
import { walk } from './walk.ts';
import type { ChainedEvent, WalkOptions } from './walk.ts';

export interface CheckedWalkOptions extends WalkOptions {
  readonly database: Queryable;
  /** What was known before the walk began. */
  readonly known: KnownEvents;
  /** Signatures of other keys are compared, but not verified. */
  readonly keys: PublicKeys;
}

export interface CheckedBatch {
  readonly events: readonly ChainedEvent[];
  /** What was signed at some of them. */
  readonly signed: readonly SignedHead[];
}

/** How many events there have to be. */
export interface KnownEvents {
  /** So many have their hashes kept, and this is the chain after them. */
  readonly sealed: number;
  readonly chain: Buffer;
  /** So many were there when last something was signed. */
  readonly signed: number;
}

export async function loadKnownEvents(database: Queryable): Promise<KnownEvents> {
  const { events, chain } = await loadHead(database);
  const signed = await loadLastSignedHead(database);
  return { sealed: events, chain, signed: signed?.events ?? 0 };
}

/** Events looked at behind a difference, to tell what has happened. */
const AHEAD = 100;

/**
 * Walks through the events and compares them with everything that was kept of them: hash by hash, seal by seal, signature by
 * signature.
 * @throws TamperedError at the first difference; or the signal's reason
 */
export async function* checkedWalk(options: CheckedWalkOptions): AsyncGenerator<CheckedBatch, void, void> {
  const { database, start } = options;
  const { sealed, chain, signed } = options.known;
  const batches = walk(options);
  let reached = start.events;
  /** The last event up to which the chain is known to be the one that was sealed or signed. */
  let vouched = start.events;
  let previous: ChainedEvent | null = null;
  try {
    for await (const batch of batches) {
      const last = reached + batch.length;
      const [kept, seals, heads] = await Promise.all([
        loadHashes(database, reached + 1, Math.min(batch.length, Math.max(0, sealed - reached))),
        loadSeals(database, reached, last),
        loadSignedHeads(database, reached, last),
      ]);
      const marks = new Marks([{ events: sealed, chain }, ...seals], heads, options.keys);
      for (const [index, chained] of batch.entries()) {
        if (index < kept.length && !kept[index]?.equals(chained.leaf)) {
          const actual = [...batch.slice(index), ...(await nextOf(batches))];
          const ahead = Math.min(AHEAD, sealed - chained.number + 1);
          throw new TamperedError(
            explainDifference({
              previous: batch[index - 1] ?? previous,
              actual: actual.slice(0, AHEAD),
              kept: await loadHashes(database, chained.number, ahead),
            }),
          );
        }
        if (marks.check(chained, vouched)) vouched = chained.number;
      }
      reached = last;
      previous = batch.at(-1) ?? previous;
      yield { events: batch, signed: heads };
    }
  } finally {
    await batches.return();
  }
  const promised = Math.max(sealed, signed);
  if (reached < promised) {
    const message = `The store ends with event ${reached}, but there were ${promised}: the rest is missing.`;
    throw new TamperedError({ problem: 'missing', message, number: reached + 1, upTo: promised });
  }
}

/** What comes next, as far as it can be read: an event that is no JSON is not the first that is wrong. */
async function nextOf(
  batches: AsyncGenerator<readonly ChainedEvent[], void, void>,
): Promise<readonly ChainedEvent[]> {
  try {
    const { value } = await batches.next();
    return value ?? [];
  } catch (error) {
    if (error instanceof TamperedError) return [];
    throw error;
  }
}

type Mark = Pick<Seal, 'events' | 'chain'>;

/** What was recorded of the chain at some of a batch's events. */
class Marks {
  readonly #seals: ReadonlyMap<number, Mark>;
  readonly #heads: readonly SignedHead[];
  readonly #keys: PublicKeys;

  constructor(seals: readonly Mark[], heads: readonly SignedHead[], keys: PublicKeys) {
    this.#seals = new Map(seals.map((seal) => [seal.events, seal]));
    this.#heads = heads;
    this.#keys = keys;
  }

  /**
   * @param vouched the last event before this one that was checked in the same way
   * @returns whether there was anything to check
   * @throws TamperedError
   */
  check({ number, after }: ChainedEvent, vouched: number): boolean {
    const seal = this.#seals.get(number);
    if (seal && !seal.chain.equals(after)) {
      const message =
        `The seal at event ${number} is another one than the events give, while the hash kept of each event fits: ` +
        `the seal was changed, or one of ${eventsFrom(vouched + 1, number)} together with its kept hash.`;
      throw new TamperedError({ problem: 'records', message, number: vouched + 1, upTo: number });
    }
    const heads = this.#heads.filter(({ events }) => events === number);
    for (const head of heads) this.#checkSigned(head, after, vouched);
    return seal !== undefined || heads.length > 0;
  }

  #checkSigned(head: SignedHead, chain: Buffer, vouched: number): void {
    const { events, keyId, signedAt, signature } = head;
    const key = this.#keys.get(keyId);
    if (key && !isSignedBy(key, headText(head), signature)) {
      const message = `What is kept as signed at event ${events} does not bear a valid signature of key ${keyId}.`;
      throw new TamperedError({ problem: 'signature', message, number: events });
    }
    if (head.chain === chain.toString('hex')) return;
    const message =
      `At ${signedAt} ${key ? '' : '(not verified: key unknown) '}something else was signed of the first ${events} events: ` +
      `one of ${eventsFrom(vouched + 1, events)} was changed since, together with what was kept of it.`;
    throw new TamperedError({ problem: 'changed', message, number: vouched + 1, upTo: events });
  }
}
