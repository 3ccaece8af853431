import type { ExportContents } from './export-reader.ts';
import { eventsFrom, identify } from './finding.ts';
import type { Finding } from './finding.ts';
import type { Manifest, ManifestLine } from './manifest.ts';
import { checkSeals } from './manifest-seals.ts';
import type { SealCheck } from './manifest-seals.ts';
import { isSignedBy, manifestText } from './signing.ts';
import type { PublicKeys } from './signing.ts';
import type { Proof, Trust } from './trust.ts';

export type Judgement = { readonly finding: Finding } | { readonly proofs: readonly Proof[] };

/**
 * Holds an export whose lines follow on one another against its manifest, and both against what is trusted.
 * @returns the proofs, none when nothing is trusted; or what is wrong
 */
export function judge(contents: ExportContents, signed: ManifestLine, { keys, root }: Trust): Judgement {
  const { manifest } = signed;
  const seals = checkSeals(contents, manifest, keys);
  const finding =
    endsDiffer(contents, manifest) ?? seals.finding ?? chainDiffers(contents, manifest, seals.agreed);
  if (finding) return { finding };
  const bySignature = keys.size === 0 ? [] : signatureProof(signed, keys, seals);
  if ('problem' in bySignature) return { finding: bySignature };
  const byRoot = root === null ? [] : rootProof(contents, manifest, root);
  if ('problem' in byRoot) return { finding: byRoot };
  return { proofs: [...bySignature, ...byRoot] };
}

/** Whether the file ends with another event than the manifest says; with which it begins, its reader has looked at. */
function endsDiffer({ last }: ExportContents, manifest: Manifest): Finding | null {
  if (manifest.count !== manifest.last - manifest.first + 1) {
    return { problem: 'manifest', message: 'The manifest contradicts itself: its count is not its range.' };
  }
  const reached = last?.number ?? manifest.first - 1;
  if (reached < manifest.last) {
    const message = `The file lacks ${eventsFrom(reached + 1, manifest.last)}, which the manifest names.`;
    return {
      problem: 'missing',
      message,
      number: reached + 1,
      upTo: manifest.last,
      line: (last?.line ?? 0) + 1,
    };
  }
  if (last === null || reached === manifest.last) return null;
  const number = manifest.last + 1;
  const line = last.line - (reached - number);
  const message = `Event ${number} in line ${line} is none that the manifest names: it was added.`;
  return { problem: 'misplaced', message, number, line, ...(number === reached && identify(last.event)) };
}

/** @param agreed the last event up to which a seal bears the events out */
function chainDiffers({ last, root }: ExportContents, manifest: Manifest, agreed: number): Finding | null {
  const after = last?.after ?? manifest.chainBefore;
  if (after === manifest.chainAfter && root === manifest.root) return null;
  const changed = eventsFrom(agreed + 1, manifest.last);
  const message =
    `The events are not those of the manifest: one of ${changed} was changed, and the file's hashes were computed anew; ` +
    `or the manifest was.`;
  return { problem: 'changed', message, number: agreed + 1, upTo: manifest.last };
}

function signatureProof(
  { manifest, signature }: ManifestLine,
  keys: PublicKeys,
  seals: SealCheck,
): readonly Proof[] | Finding {
  const { first, last, keyId, exportedAt: at } = manifest;
  const range = { number: Math.min(seals.agreed + 1, last), upTo: last };
  const key = keyId === null ? undefined : keys.get(keyId);
  if (key && keyId !== null && signature !== null) {
    if (isSignedBy(key, manifestText(manifest), Buffer.from(signature, 'base64'))) {
      return [{ by: 'manifest', keyId, at }];
    }
    const message =
      `The signature of the manifest is not valid: the manifest was changed, ` +
      `and with it perhaps ${eventsFrom(range.number, last)}.`;
    return { problem: 'signature', message, ...range };
  }
  if (seals.proof && seals.agreed === last) return [seals.proof];
  const by = keyId === null ? 'is not signed' : `is signed by another key, ${keyId}`;
  const partly = seals.proof
    ? `Signed seals prove the events up to ${seals.agreed}, but none behind it.`
    : 'Nothing in it is proven.';
  return {
    problem: 'signature',
    message: `The manifest ${by}. ${partly}`,
    ...(last >= first && range),
  };
}

function rootProof(
  { chains }: ExportContents,
  { root, chainAfter, last }: Manifest,
  trusted: string,
): readonly Proof[] | Finding {
  if (trusted === root || trusted === chainAfter) return [{ by: 'root' }];
  const [known] = [...chains].find(([, chain]) => chain === trusted) ?? [];
  const message =
    known === undefined
      ? 'The events are not those of the given root; which of them, cannot be said from a root.'
      : `The given root proves the events up to ${known}, but the file goes on to ${last}.`;
  return { problem: 'root', message, ...(known !== undefined && { number: known + 1, upTo: last }) };
}
