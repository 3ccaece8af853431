import { hash } from 'node:crypto';
import { AppError, errorMessage } from '../errors.ts';
import type { RecordedEvent } from '../events/event-store.ts';
import { canonicalJson } from './canonical-json.ts';

/** Name and version of the format that `docs/audit-format.md` describes. */
export const FORMAT = 'asyncly-audit/1';

/** A seal is made of every so many events. Part of the format: another number makes other seals. */
export const SEAL_INTERVAL = 1_024;

const sha256 = (input: string | Uint8Array): Buffer => hash('sha256', input, 'buffer');

/** The chain before the first event. */
export const GENESIS: Buffer = sha256(FORMAT);

/** Bytes of every hash here. */
export const HASH_BYTES = 32;

/** What a hash is made of never looks like what another kind is made of. */
const LEAF = '\u0000';
const NODE = 0x01;
const LINK = 0x02;

/** A stored event that is no JSON: it cannot be hashed. */
export class UnhashableEventError extends AppError {
  constructor({ id, type, stream, revision }: RecordedEvent, cause: unknown) {
    super(
      'UNHASHABLE_EVENT',
      `Event ${id} (${type}, ${stream}@${revision}) has no canonical form: ${errorMessage(cause)}`,
      { id, type, stream, revision },
      { cause },
    );
  }
}

/**
 * The hash of one event: of all that it is, but not of its position, which another store would give it otherwise.
 * @throws UnhashableEventError
 */
export function leafHash(event: RecordedEvent): Buffer {
  const { stream, revision, id, type, data, metadata } = event;
  try {
    return sha256(LEAF + canonicalJson({ stream, revision, id: id.toLowerCase(), type, data, metadata }));
  } catch (error) {
    throw new UnhashableEventError(event, error);
  }
}

/** The chain after one more event. */
export function linkHash(chain: Uint8Array, leaf: Uint8Array): Buffer {
  return joinedHash(LINK, chain, leaf);
}

/** An inner node of a Merkle tree. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  return joinedHash(NODE, left, right);
}

/** The root of a Merkle tree without leaves. */
export const EMPTY_ROOT: Buffer = sha256('');

const joined = Buffer.alloc(1 + 2 * HASH_BYTES);

function joinedHash(prefix: number, first: Uint8Array, second: Uint8Array): Buffer {
  joined[0] = prefix;
  joined.set(first, 1);
  joined.set(second, 1 + HASH_BYTES);
  return sha256(joined);
}
