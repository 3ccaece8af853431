import type { StoreVerdict } from '../../audit/verify-store.ts';
import type { ExportVerdict } from '../../audit/verify-export.ts';
import type { Proof } from '../../audit/trust.ts';
import type { Report } from '../action.ts';
import { printable } from '../event-text.ts';

/** What there is to say of an export. */
export function exportReport(file: string, verdict: ExportVerdict): Report {
  const { finding, proofs, contents, manifest } = verdict;
  const { first, last, events, root } = contents;
  const data = {
    ok: finding === null,
    file,
    events,
    first: first?.number ?? null,
    last: last?.number ?? null,
    chainBefore: first?.before ?? manifest?.chainBefore ?? null,
    chainAfter: last?.after ?? manifest?.chainAfter ?? null,
    root,
    proven: proofs.length > 0,
    proofs,
    keyId: manifest?.keyId ?? null,
    ...(finding && { finding }),
  };
  if (finding)
    return { data, text: printable(`${file} is not what it was. ${finding.message}`), failed: true };
  const what =
    first && last ? `All ${events} events, number ${first.number} to ${last.number},` : 'No events';
  const text = [
    `${what} are in the file, unchanged and in order.`,
    ...(proofs.length > 0 ? proofs.map(explain) : [unproven(manifest?.keyId ?? null)]),
  ];
  return { data, text: text.join('\n') };
}

function explain({ by, keyId, at }: Proof): string {
  switch (by) {
    case 'manifest':
      return `Proven by the manifest's signature of ${at}, key ${keyId}.`;
    case 'seal':
      return `Proven by the signature of the seal at the last event of ${at}, key ${keyId}.`;
    case 'root':
      return 'Proven by the given root.';
    default:
      return by satisfies never;
  }
}

function unproven(keyId: string | null): string {
  const advice =
    keyId === null
      ? 'It is not signed: only a root that was kept elsewhere (--root) could prove more.'
      : `It names key ${keyId} as its signer: give its public key with --public-key, or a root that was kept elsewhere with --root.`;
  return (
    `This proves only that the file is consistent in itself: whoever changed it could have computed all its hashes anew. ` +
    advice
  );
}

/** What there is to say of the event store. */
export function storeReport(verdict: StoreVerdict): Report {
  const { finding, events, chain, known, signed, unverified, rootAt } = verdict;
  const data = {
    ok: finding === null,
    events,
    recorded: Math.min(known.sealed, events),
    chain,
    signed,
    unverified,
    rootAt,
    ...(finding && { finding }),
  };
  if (finding)
    return { data, text: printable(`The event store is not what it was. ${finding.message}`), failed: true };
  const text = [
    `All ${events} events are as they were when they were recorded.`,
    `Chain ${chain}`,
    ...(events > known.sealed
      ? [`The last ${events - known.sealed} of them have not been recorded yet.`]
      : []),
    ...(rootAt === null ? [] : [`The given root proves the events up to number ${rootAt}.`]),
    ...(signed === null
      ? []
      : [
          `The signature of ${signed.signedAt}, key ${signed.keyId}, proves the events up to number ${signed.events}.`,
        ]),
    ...(unverified === 0 ? [] : [`Not verified: ${unverified} signatures of other keys (--public-key).`]),
    ...(signed === null && rootAt === null
      ? [
          'No signature was verified and no root given: this proves only that the events agree with what the database kept of them.',
        ]
      : []),
  ];
  return { data, text: text.join('\n') };
}
