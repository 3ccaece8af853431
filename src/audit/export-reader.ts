import { SEAL_INTERVAL } from './chain.ts';
import { explainBreak, isJoined, predecessor } from './explain-break.ts';
import type { Predecessor, Successor } from './explain-break.ts';
import { readLine } from './export-line.ts';
import type { EventLine, ExportLine } from './export-line.ts';
import type { Finding } from './finding.ts';
import type { Manifest, ManifestLine } from './manifest.ts';
import { MerkleTree } from './merkle-tree.ts';

/** What the events of an export amount to. */
export interface ExportContents {
  readonly first: EventLine | null;
  readonly last: EventLine | null;
  readonly events: number;
  /** Of the Merkle tree, hex. */
  readonly root: string;
  /** The chain after every event at which a seal may be, hex, by the event's number. */
  readonly chains: ReadonlyMap<number, string>;
}

/** Takes an export line by line and finds the first that is not what it should be, or does not follow on the others. */
export class ExportReader {
  readonly #tree = new MerkleTree();
  readonly #seals = new Map<number, string>();
  /** Behind the last seal, a signature may be at any event. */
  #unsealed = new Map<number, string>();
  #first: EventLine | null = null;
  #last: EventLine | null = null;
  /** What the next line has to follow on; null when nobody knows with what the file begins. */
  #previous: Predecessor | null;
  /** A line that does not: what is behind it will tell why. */
  #broken: EventLine | null = null;
  #manifest: ManifestLine | null = null;
  #lines = 0;
  #events = 0;

  /** @param manifest what stands at the end of the file, read ahead; null when that is no manifest */
  constructor(manifest: Manifest | null) {
    this.#previous = manifest && { number: manifest.first - 1, after: manifest.chainBefore, at: null };
  }

  get events(): number {
    return this.#events;
  }

  /** @param ended with a line feed @returns what is wrong, as soon as it can be said */
  take(bytes: Buffer, ended: boolean): Finding | null {
    const line = ++this.#lines;
    const before = this.#broken ?? this.#previous;
    const read = ended ? readLine(bytes, line, before && before.number + 1) : null;
    if (this.#broken) return this.#explain(this.#broken, successor(read));
    if (this.#manifest) {
      return { problem: 'misplaced', message: `Line ${line} stands behind the manifest.`, line };
    }
    switch (read?.kind) {
      case 'event':
        return this.#add(read);
      case 'manifest':
        this.#manifest = read;
        return null;
      case 'bad':
        return read.finding;
      default:
        return this.#truncated();
    }
  }

  /** At the end of the file. @returns the manifest, or what is wrong */
  end(): ManifestLine | Finding {
    if (this.#broken) return this.#explain(this.#broken, null);
    return this.#manifest ?? this.#truncated();
  }

  contents(): ExportContents {
    return {
      first: this.#first,
      last: this.#last,
      events: this.#events,
      root: this.#tree.root().toString('hex'),
      chains: new Map([...this.#seals, ...this.#unsealed]),
    };
  }

  #add(read: EventLine): null {
    if (this.#previous && !isJoined(this.#previous, read)) {
      this.#broken = read;
      return null;
    }
    const { number, after, leaf } = read;
    this.#previous = predecessor(read);
    this.#first ??= read;
    this.#last = read;
    this.#events++;
    this.#tree.add(leaf);
    if (number % SEAL_INTERVAL === 0) {
      this.#seals.set(number, after);
      this.#unsealed = new Map();
    } else {
      this.#unsealed.set(number, after);
    }
    return null;
  }

  #explain(broken: EventLine, next: Successor | null): Finding {
    if (!this.#previous) throw new Error('A break comes behind something');
    return explainBreak(this.#previous, broken, next);
  }

  #truncated(): Finding {
    const last = this.#last;
    const message =
      last === null
        ? 'The file is empty, or cut off in its first line.'
        : `The file is cut off behind event ${last.number} in line ${last.line}: it does not end with a manifest.`;
    return {
      problem: 'truncated',
      message,
      line: this.#lines,
      ...(last !== null && { number: last.number + 1 }),
    };
  }
}

function successor(read: ExportLine | null): Successor | null {
  switch (read?.kind) {
    case 'event':
      return read;
    case 'manifest':
      return { number: read.manifest.last + 1, before: read.manifest.chainAfter };
    default:
      return null;
  }
}
