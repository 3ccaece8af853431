import { FORMAT, SEAL_INTERVAL } from './chain.ts';
import type { Manifest, ManifestSeal } from './manifest.ts';
import { MerkleTree } from './merkle-tree.ts';
import type { ChainPlace, SignedHead } from './seals.ts';
import type { ChainedEvent } from './walk.ts';

/** What a manifest will say, as it follows from the events while they pass. */
export class ManifestDraft {
  readonly #first: number;
  readonly #tree = new MerkleTree();
  readonly #seals: ManifestSeal[] = [];
  readonly #signed: SignedHead[] = [];
  #before: Buffer;
  #after: Buffer;
  #reached: number;
  #count = 0;

  /** @param start the place that the events passed come after; at most one event short of `first` */
  constructor(first: number, start: ChainPlace) {
    this.#first = first;
    this.#before = this.#after = start.chain;
    this.#reached = start.events;
  }

  /** Events in the range so far. */
  get count(): number {
    return this.#count;
  }

  /** Number of the last event that has passed, in the range or before it. */
  get reached(): number {
    return this.#reached;
  }

  get seals(): number {
    return this.#seals.length;
  }

  /** Takes the next event, none behind the range. */
  pass({ number, leaf, after }: ChainedEvent): void {
    this.#reached = number;
    this.#after = after;
    if (number < this.#first) this.#before = after;
    else {
      this.#count++;
      this.#tree.add(leaf);
    }
    if (number % SEAL_INTERVAL === 0 && number >= this.#first) {
      this.#seals.push({ events: number, chain: after.toString('hex') });
    }
  }

  /** Takes what was signed at events that have passed. */
  sign(heads: readonly SignedHead[]): void {
    this.#signed.push(...heads.filter(({ events }) => events >= this.#first && events <= this.#reached));
  }

  finish(about: Pick<Manifest, 'exportedAt' | 'software' | 'keyId'>): Manifest {
    return {
      format: FORMAT,
      interval: SEAL_INTERVAL,
      first: this.#first,
      last: this.#first + this.#count - 1,
      count: this.#count,
      chainBefore: this.#before.toString('hex'),
      chainAfter: this.#after.toString('hex'),
      root: this.#tree.root().toString('hex'),
      seals: this.#allSeals(),
      ...about,
    };
  }

  /** What was signed between two seals says nothing that the next seal does not say. */
  #allSeals(): ManifestSeal[] {
    const last = this.#seals.at(-1)?.events ?? 0;
    const signed = this.#signed.filter(({ events }) => events > last || events % SEAL_INTERVAL === 0);
    const signedAt = new Set(signed.map(({ events }) => events));
    const seals: ManifestSeal[] = [
      ...this.#seals.filter(({ events }) => !signedAt.has(events)),
      ...signed.map((head) => ({ ...head, signature: head.signature.toString('base64') })),
    ];
    return seals.sort((one, other) => one.events - other.events);
  }
}
