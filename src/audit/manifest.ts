import { hash } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from './canonical-json.ts';
import { FORMAT, SEAL_INTERVAL } from './chain.ts';
import { SOURCE } from './cloud-event.ts';
import { manifestText } from './signing.ts';
import type { SigningKey } from './signing.ts';

export const MANIFEST_TYPE = 'asyncly.audit.manifest';

const hexHash = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.int().nonnegative();
const instant = z.iso.datetime();
/** 64 bytes; of the texts that stand for them, the one that we would write. */
const signature = z
  .base64()
  .length(88)
  .refine((text) => Buffer.from(text, 'base64').toString('base64') === text);

const sealSchema = z.union([
  z.strictObject({ events: count, chain: hexHash }),
  z.strictObject({ events: count, chain: hexHash, keyId: hexHash, signedAt: instant, signature }),
]);

const manifestSchema = z.strictObject({
  format: z.literal(FORMAT),
  interval: z.literal(SEAL_INTERVAL),
  /** Numbers of the first and the last event; of none, `last` is `first - 1`. */
  first: z.int().positive(),
  last: count,
  count,
  chainBefore: hexHash,
  chainAfter: hexHash,
  /** Of the Merkle tree of the events' hashes. */
  root: hexHash,
  /** The chain after some of the events, signed or not, in order. */
  seals: z.array(sealSchema),
  exportedAt: instant,
  software: z.string(),
  /** Whose signature the line bears; null when it bears none. */
  keyId: hexHash.nullable(),
});

/** What an export says of itself, in its last line. */
export type Manifest = Readonly<z.infer<typeof manifestSchema>>;
export type ManifestSeal = Manifest['seals'][number];

export interface ManifestLine {
  readonly manifest: Manifest;
  /** Base64; null when there is none. */
  readonly signature: string | null;
}

/** The last line of an export, without its end. */
export function renderManifest(manifest: Manifest, key: SigningKey | null): string {
  return renderLine({ manifest, signature: key?.sign(manifestText(manifest)).toString('base64') ?? null });
}

function renderLine({ manifest, signature: signed }: ManifestLine): string {
  return canonicalJson({
    specversion: '1.0',
    // Names the content, so that no byte of it changes unnoticed.
    id: hash('sha256', manifestText(manifest), 'hex'),
    source: SOURCE,
    type: MANIFEST_TYPE,
    time: manifest.exportedAt,
    datacontenttype: 'application/json',
    data: manifest,
    ...(signed !== null && { signature: signed }),
  });
}

/** @returns null when the line is not exactly what we would have written */
export function restoreManifest(line: Readonly<Record<string, unknown>>, text: string): ManifestLine | null {
  const parsed = manifestSchema.safeParse(line['data']);
  const signed = signature.optional().safeParse(line['signature']);
  if (!parsed.success || !signed.success) return null;
  const restored = { manifest: parsed.data, signature: signed.data ?? null };
  if ((restored.signature === null) !== (restored.manifest.keyId === null)) return null;
  return renderLine(restored) === text ? restored : null;
}
