import { EMPTY_ROOT, nodeHash } from './chain.ts';

interface Subtree {
  readonly leaves: number;
  readonly hash: Buffer;
}

/** The Merkle tree of RFC 6962, section 2.1, that grows by leaves and remembers one hash a level. */
export class MerkleTree {
  /** Full subtrees, larger ones first. */
  readonly #subtrees: Subtree[] = [];

  /** @param leaf its hash */
  add(leaf: Buffer): void {
    let grown: Subtree = { leaves: 1, hash: leaf };
    for (let last = this.#subtrees.at(-1); last?.leaves === grown.leaves; last = this.#subtrees.at(-1)) {
      this.#subtrees.pop();
      grown = { leaves: 2 * grown.leaves, hash: nodeHash(last.hash, grown.hash) };
    }
    this.#subtrees.push(grown);
  }

  root(): Buffer {
    const hashes = this.#subtrees.map(({ hash }) => hash);
    return hashes.length === 0 ? EMPTY_ROOT : hashes.reduceRight((right, left) => nodeHash(left, right));
  }
}
