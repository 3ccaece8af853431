import type { ExportContents } from './export-reader.ts';
import { eventsFrom } from './finding.ts';
import type { Finding } from './finding.ts';
import type { Manifest, ManifestSeal } from './manifest.ts';
import { headText, isSignedBy } from './signing.ts';
import type { PublicKeys } from './signing.ts';
import type { Proof } from './trust.ts';

export interface SealCheck {
  readonly finding: Finding | null;
  /** The last event up to which a seal bears the events out; with keys, one that bears a valid signature. */
  readonly agreed: number;
  /** What proves the events up to there. */
  readonly proof: Proof | null;
}

/** Holds the seals of a manifest against the events, up to the first that does not fit. */
export function checkSeals(contents: ExportContents, manifest: Manifest, keys: PublicKeys): SealCheck {
  let agreed = manifest.first - 1;
  let proof: Proof | null = null;
  for (const seal of manifest.seals) {
    const trusted = keyOf(seal, keys);
    const finding = check(seal, contents, agreed, trusted?.valid ?? true);
    if (finding) return { finding, agreed, proof };
    if (trusted) proof = trusted.proof;
    // A seal that anyone could have computed says nothing to somebody who has a key.
    if (trusted || keys.size === 0) agreed = seal.events;
  }
  return { finding: null, agreed, proof };
}

function keyOf(seal: ManifestSeal, keys: PublicKeys): { valid: boolean; proof: Proof } | null {
  if (!('keyId' in seal)) return null;
  const { signature, ...head } = seal;
  const key = keys.get(seal.keyId);
  if (!key) return null;
  return {
    valid: isSignedBy(key, headText(head), Buffer.from(signature, 'base64')),
    proof: { by: 'seal', keyId: seal.keyId, at: seal.signedAt },
  };
}

function check(
  { events, chain }: ManifestSeal,
  { chains }: ExportContents,
  agreed: number,
  valid: boolean,
): Finding | null {
  const range = { number: Math.min(agreed + 1, events), upTo: events };
  const suspects = eventsFrom(range.number, range.upTo);
  const computed = chains.get(events);
  if (computed === undefined) {
    const message = `The manifest has a seal at event ${events}, where the file has no event or no seal belongs.`;
    return { problem: 'manifest', message, number: events };
  }
  if (!valid) {
    const message =
      `The signature of the seal at event ${events} is not valid: one of ${suspects} was changed and the seal made anew, ` +
      `or only the seal was changed.`;
    return { problem: 'signature', message, ...range };
  }
  if (computed === chain) return null;
  const message = `The events do not fit the seal at event ${events}: one of ${suspects} was changed, and the hashes behind it were computed anew.`;
  return { problem: 'changed', message, ...range };
}
