import { createPublicKey, hash, sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { canonicalJson } from './canonical-json.ts';

/** A private key of ours, with the name that its signatures carry. */
export interface SigningKey {
  readonly id: string;
  /** @returns the Ed25519 signature of the text's UTF-8 bytes */
  sign(text: string): Buffer;
}

/** @param privateKey Ed25519 */
export function signingKey(privateKey: KeyObject): SigningKey {
  return {
    id: keyId(createPublicKey(privateKey)),
    sign: (text) => sign(null, Buffer.from(text), privateKey),
  };
}

/** Public keys by their ids. */
export type PublicKeys = ReadonlyMap<string, KeyObject>;

export function publicKeys(keys: readonly KeyObject[]): PublicKeys {
  return new Map(keys.map((key) => [keyId(key), key]));
}

/** The hex SHA-256 of a public key's DER form (SubjectPublicKeyInfo). */
function keyId(publicKey: KeyObject): string {
  return hash('sha256', publicKey.export({ type: 'spki', format: 'der' }), 'hex');
}

export function isSignedBy(publicKey: KeyObject, text: string, signature: Uint8Array): boolean {
  return signature.length === 64 && verify(null, Buffer.from(text), publicKey, signature);
}

/** Where the chain stood at some time, as somebody who holds a key vouches for it. */
export interface HeadStatement {
  /** Events the chain covers, from the first one on. */
  readonly events: number;
  /** Hex. */
  readonly chain: string;
  readonly keyId: string;
  /** ISO 8601, UTC. */
  readonly signedAt: string;
}

/** What is signed of a head. */
export function headText({ events, chain, keyId: key, signedAt }: HeadStatement): string {
  return `asyncly-audit-head/1\n${canonicalJson({ chain, events, keyId: key, signedAt })}`;
}

/** What is hashed and signed of a manifest. */
export function manifestText(manifest: object): string {
  return `asyncly-audit-manifest/1\n${canonicalJson(manifest)}`;
}
