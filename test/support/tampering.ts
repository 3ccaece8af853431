import { leafHash, linkHash } from '../../src/audit/chain.ts';
import { renderEvent, restoreEvent } from '../../src/audit/cloud-event.ts';
import type { ExportedEvent } from '../../src/audit/cloud-event.ts';
import { renderManifest } from '../../src/audit/manifest.ts';
import type { Manifest } from '../../src/audit/manifest.ts';
import { MerkleTree } from '../../src/audit/merkle-tree.ts';
import type { SigningKey } from '../../src/audit/signing.ts';

/** A line of an export, without its end, as what it says. */
export function restored(line: string): ExportedEvent {
  const event = restoreEvent(JSON.parse(line) as Record<string, unknown>);
  if (!event) throw new Error(`No event: ${line}`);
  return event;
}

/** The event with other data, in a line whose own hashes fit. */
export function forged(line: string, data: Record<string, unknown>): string {
  const exported = restored(line);
  return `${relinked({ ...exported, event: { ...exported.event, data } }, exported.before)}\n`;
}

function relinked(exported: ExportedEvent, before: string): string {
  const after = linkHash(Buffer.from(before, 'hex'), leafHash(exported.event)).toString('hex');
  return renderEvent({ ...exported, before, after });
}

/**
 * What somebody makes of an export who can compute everything anew, but has no key: the events are numbered and chained from
 * the first on, and the manifest says so.
 * @param seals whether its seals are computed anew as well; their signatures are then the old ones
 */
export function recomputed(
  lines: readonly string[],
  { seals = true, key = null }: { seals?: boolean; key?: SigningKey | null } = {},
): string {
  const { data: manifest } = JSON.parse(lines.at(-1) ?? '') as { data: Manifest };
  const tree = new MerkleTree();
  const chains = new Map<number, string>();
  let before = manifest.chainBefore;
  let number = manifest.first - 1;
  const written = lines.slice(0, -1).map((line) => {
    const { event } = restored(line);
    number++;
    tree.add(leafHash(event));
    const text = relinked({ event, number, before, after: '' }, before);
    before = restored(text).after;
    chains.set(number, before);
    return text;
  });
  const made: Manifest = {
    ...manifest,
    last: number,
    count: number - manifest.first + 1,
    chainAfter: before,
    root: tree.root().toString('hex'),
    seals: manifest.seals
      .filter(({ events }) => events <= number)
      .map((seal) => ({ ...seal, chain: seals ? (chains.get(seal.events) ?? '') : seal.chain })),
    keyId: key?.id ?? null,
  };
  return `${[...written, renderManifest(made, key)].join('\n')}\n`;
}
