import { createPrivateKey, createPublicKey } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { canonicalJson } from '../../src/audit/canonical-json.ts';
import { GENESIS, leafHash, linkHash } from '../../src/audit/chain.ts';
import { renderEvent } from '../../src/audit/cloud-event.ts';
import { ManifestDraft } from '../../src/audit/manifest-draft.ts';
import { renderManifest } from '../../src/audit/manifest.ts';
import { BEGINNING } from '../../src/audit/seals.ts';
import { headText, publicKeys, signingKey } from '../../src/audit/signing.ts';
import { verifyExport } from '../../src/audit/verify-export.ts';
import type { RecordedEvent } from '../../src/events/event-store.ts';

const guide = readFileSync(new URL('../../docs/audit-format.md', import.meta.url), 'utf8');
const example = guide.slice(guide.indexOf('## Worked example'));
const [publicKey = '', canonical = '', hashes = '', signedHead = '', file = ''] = [
  ...example.matchAll(/```text\n([^]*?)```/g),
].map(([, block]) => block ?? '');

/** RFC 8032, section 7.1, test 1, behind what PKCS #8 puts before it. */
const key = createPrivateKey({
  key: Buffer.from(
    '302e020100300506032b6570042204209d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    'hex',
  ),
  format: 'der',
  type: 'pkcs8',
});

it('computes the hashes, the signatures and the file of the worked example', () => {
  const signer = signingKey(key);
  expect(createPublicKey(key).export({ type: 'spki', format: 'pem' })).toBe(publicKey);
  const texts = canonical.trimEnd().split('\n');
  const events = texts.map((text) => JSON.parse(text) as RecordedEvent);
  expect(events.map(canonicalJson)).toEqual(texts);

  const draft = new ManifestDraft(1, BEGINNING);
  const lines: string[] = [];
  const computed = [`key id    ${signer.id}`, `chain(0)  ${GENESIS.toString('hex')}`];
  let before = GENESIS;
  for (const [index, event] of events.entries()) {
    const number = index + 1;
    const leaf = leafHash(event);
    const after = linkHash(before, leaf);
    computed.push(`leaf(${number})   ${leaf.toString('hex')}`, `chain(${number})  ${after.toString('hex')}`);
    draft.pass({ event: { ...event, position: 0n }, number, leaf, before, after });
    lines.push(renderEvent({ event, number, before: before.toString('hex'), after: after.toString('hex') }));
    if (number === 2) {
      const signedAt = '2026-05-19T11:00:00.000Z';
      const head = { events: 2, chain: after.toString('hex'), keyId: signer.id, signedAt };
      expect(`${headText(head)}\n`).toBe(signedHead);
      draft.sign([{ ...head, signature: signer.sign(headText(head)) }]);
    }
    before = after;
  }
  const manifest = draft.finish({
    exportedAt: '2026-05-20T00:00:00.000Z',
    software: 'asyncly 0.1.0',
    keyId: signer.id,
  });
  computed.push(`root      ${manifest.root}`);
  expect(computed.join('\n')).toBe(hashes.trimEnd());
  lines.push(renderManifest(manifest, signer));
  expect(`${lines.join('\n')}\n`).toBe(file);
});

it('verifies the file of the worked example', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'asyncly-format-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const name = path.join(folder, 'example.ndjson');
  writeFileSync(name, file);
  const keys = publicKeys([createPublicKey(publicKey)]);
  const { signal } = new AbortController();
  expect(await verifyExport({ file: name, keys, root: null, signal })).toMatchObject({
    finding: null,
    proofs: [{ by: 'manifest' }],
    contents: { events: 3 },
  });
});
