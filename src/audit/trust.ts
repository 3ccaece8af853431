import type { PublicKeys } from './signing.ts';

/** What is believed without proof. */
export interface Trust {
  readonly keys: PublicKeys;
  /** Hex: the root of the events' Merkle tree, or the chain after the last one; null when there is none. */
  readonly root: string | null;
}

/** Why all events of an export are there, in order and unchanged. */
export interface Proof {
  /** The signature of the manifest, that of the seal at the last event, or the root that was given. */
  readonly by: 'manifest' | 'seal' | 'root';
  readonly keyId?: string;
  /** When it was signed. */
  readonly at?: string;
}
