import { describe, expect, it } from 'vitest';
import { SEAL_INTERVAL } from '../../src/audit/chain.ts';
import { createSealSigner } from '../../src/audit/seal-signer.ts';
import { adapters, createKey, createVerifier, exportText, manifestOf, seal } from '../support/auditing.ts';
import type { Exported, TestKey } from '../support/auditing.ts';
import { writeHistory } from '../support/copying.ts';
import { forged, recomputed } from '../support/tampering.ts';

const [{ open }] = adapters;

/** 2,100 events with two seals, and what was signed of them. */
async function setup({ signed = true }: { signed?: boolean } = {}) {
  const audited = await open();
  const key = createKey();
  await writeHistory(audited.store, 300);
  await seal(audited);
  if (signed) {
    const signer = createSealSigner({ database: audited.database, key });
    await signer.signNew('2026-05-19T12:00:00.000Z');
    await signer.signNew('2026-05-19T12:02:00.000Z');
  }
  return { ...audited, key, verify: await createVerifier() };
}

/** The same lines, the event of one number with other data. */
function withForged({ lines }: Exported, number: number): string[] {
  return lines.map((line, index) => (index === number - 1 ? forged(line, { forged: true }) : line));
}

describe('an export', () => {
  it('proves only that it is consistent when nothing is trusted', async () => {
    const { verify, ...audited } = await setup({ signed: false });
    const exported = await exportText(audited);
    expect(await verify(exported.text)).toMatchObject({ finding: null, proofs: [] });
    // Anyone can make one that is just as consistent.
    expect(await verify(recomputed(withForged(exported, 700)))).toMatchObject({ finding: null, proofs: [] });
  });

  it('is proven by the signature of its manifest, and by no other', async () => {
    const { verify, key, ...audited } = await setup({ signed: false });
    const exported = await exportText(audited, { key });
    const { trusted } = key;
    expect(manifestOf(exported)).toMatchObject({ keyId: key.id });
    expect(await verify(exported.text, { keys: trusted })).toMatchObject({
      finding: null,
      proofs: [{ by: 'manifest', keyId: key.id, at: '2026-05-20T00:00:00.000Z' }],
    });
    const other = createKey();
    expect(await verify(exported.text, { keys: other.trusted })).toMatchObject({
      finding: {
        problem: 'signature',
        message: expect.stringContaining(
          `signed by another key, ${key.id}. Nothing in it is proven`,
        ) as unknown,
      },
      proofs: [],
    });
    const both = new Map([...other.trusted, ...trusted]);
    expect(await verify(exported.text, { keys: both })).toMatchObject({ finding: null });

    const changed = withForged(exported, 700);
    const unsigned = await verify(recomputed(changed), { keys: trusted });
    expect(unsigned.finding).toMatchObject({ problem: 'signature', number: 1, upTo: 2_100 });
    const signedByOther = await verify(recomputed(changed, { key: other }), { keys: trusted });
    expect(signedByOther.finding).toMatchObject({ problem: 'signature' });
    const withOldSignature = recomputed(changed, { key: { ...key, sign: () => Buffer.alloc(64, 1) } });
    expect((await verify(withOldSignature, { keys: trusted })).finding).toMatchObject({
      problem: 'signature',
      message: expect.stringContaining('signature of the manifest is not valid') as unknown,
    });
    // The manifest as it was behind other events.
    const withOldManifest = recomputed(changed).replace(/[^\n]*\n$/, exported.lines.at(-1) ?? '');
    expect((await verify(withOldManifest, { keys: trusted })).finding).toMatchObject({
      problem: 'changed',
      number: 1,
      upTo: SEAL_INTERVAL,
    });
  });

  it('is proven by a root that was kept elsewhere', async () => {
    const { verify, ...audited } = await setup({ signed: false });
    const exported = await exportText(audited);
    const { root, chainAfter, seals } = manifestOf(exported) as Record<string, string> & {
      seals: { events: number; chain: string }[];
    };
    for (const kept of [root, chainAfter]) {
      expect(await verify(exported.text, { root: kept ?? '' })).toMatchObject({
        finding: null,
        proofs: [{ by: 'root' }],
      });
      expect(
        (await verify(recomputed(withForged(exported, 2_100)), { root: kept ?? '' })).finding,
      ).toMatchObject({
        problem: 'root',
        message: expect.stringContaining('which of them, cannot be said') as unknown,
      });
    }
    expect((await verify(exported.text, { root: seals[0]?.chain ?? '' })).finding).toMatchObject({
      problem: 'root',
      number: SEAL_INTERVAL + 1,
      upTo: 2_100,
    });
    const [first = '', second = '', ...rest] = exported.lines;
    const removed = recomputed([first, ...rest]);
    const reordered = recomputed([second, first, ...rest]);
    const doubled = recomputed([first, first, second, ...rest]);
    for (const text of [removed, reordered, doubled]) {
      expect((await verify(text)).finding).toBeNull();
      expect((await verify(text, { root: root ?? '' })).finding).toMatchObject({ problem: 'root' });
    }
  });

  it('narrows what was computed anew down to the seals that were signed', async () => {
    const { verify, key, ...audited } = await setup();
    const exported = await exportText(audited);
    const { trusted } = key;
    // Not the manifest, but the chain after the last event was signed.
    expect(await verify(exported.text, { keys: trusted })).toMatchObject({
      finding: null,
      proofs: [{ by: 'seal', keyId: key.id, at: '2026-05-19T12:02:00.000Z' }],
    });
    const places = [
      [1, SEAL_INTERVAL, 700],
      [SEAL_INTERVAL + 1, 2 * SEAL_INTERVAL, 2 * SEAL_INTERVAL],
      [2 * SEAL_INTERVAL + 1, 2_100, 2_060],
    ] as const;
    for (const [number, upTo, victim] of places) {
      const changed = withForged(exported, victim);
      const sealsLeft = await verify(recomputed(changed, { seals: false }), { keys: trusted });
      expect(sealsLeft.finding).toMatchObject({ problem: 'changed', number, upTo });
      const sealsMade = await verify(recomputed(changed), { keys: trusted });
      expect(sealsMade.finding).toMatchObject({ problem: 'signature', number, upTo });
    }
    const beyond = recomputed([...exported.lines.slice(0, -1), ...exported.lines.slice(-2)]);
    expect((await verify(beyond, { keys: trusted })).finding).toMatchObject({
      problem: 'signature',
      number: 2_101,
      message: expect.stringContaining('prove the events up to 2100, but none behind it') as unknown,
    });
  });

  it('shows when its manifest was changed, or is gone', async () => {
    const { verify, key, ...audited } = await setup();
    const { lines } = await exportText(audited, { key });
    const events = lines.slice(0, -1).join('');
    const manifest = Buffer.from(lines.at(-1) ?? '');
    const step = Math.max(1, Math.floor(manifest.length / 60));
    for (let at = 0; at < manifest.length; at += step) {
      const bytes = Buffer.from(manifest);
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      const { finding } = await verify(Buffer.concat([Buffer.from(events), bytes]));
      // A changed signature is another signature: without a key, nobody can say more.
      const inSignature = at > manifest.indexOf('"signature":', manifest.indexOf('},"datacontenttype"'));
      if (inSignature && finding === null) {
        const { finding: trusted } = await verify(Buffer.concat([Buffer.from(events), bytes]), {
          keys: key.trusted,
        });
        expect(trusted).toMatchObject({ problem: 'signature' });
      } else {
        expect(finding).toMatchObject({ line: 2_101 });
      }
    }
    expect((await verify(events)).finding).toMatchObject({
      problem: 'truncated',
      line: 2_100,
      number: 2_101,
    });
    expect((await verify(`${events}${manifest.toString()}`.slice(0, -1))).finding).toMatchObject({
      problem: 'truncated',
    });
    expect((await verify(events.slice(0, -10))).finding).toMatchObject({
      problem: 'truncated',
      number: 2_100,
    });
    expect((await verify('')).finding).toMatchObject({ problem: 'truncated' });
    expect((await verify(`${events}${manifest.toString()}${lines[0] ?? ''}`)).finding).toMatchObject({
      problem: 'misplaced',
      line: 2_102,
    });
    expect((await verify(`${events}${manifest.toString()}\n`)).finding).not.toBeNull();
  }, 120_000);

  it('takes no other text for a signature than the one it has', async () => {
    const { verify, key, ...audited } = await setup({ signed: false });
    const { text } = await exportText(audited, { key, to: 10 });
    // The bits that the last character has too many.
    const other = text.replace(/(.)(=="[^\n]*\n)$/, (_, last: string, rest: string) => {
      return `${{ A: 'B', Q: 'R', g: 'h', w: 'x' }[last] ?? ''}${rest}`;
    });
    expect(other).toHaveLength(text.length);
    expect((await verify(other, { keys: key.trusted })).finding).toMatchObject({
      problem: 'manifest',
      line: 11,
    });
  });

  it('lacks nothing at its ends unnoticed', async () => {
    const { verify, ...audited } = await setup({ signed: false });
    const { lines } = await exportText(audited, { from: 101, to: 200 });
    const without = (from: number, to: number) => [...lines.slice(0, from), ...lines.slice(to)].join('');
    expect((await verify(without(0, 3))).finding).toMatchObject({
      problem: 'missing',
      number: 101,
      upTo: 103,
    });
    expect((await verify(without(90, 100))).finding).toMatchObject({
      problem: 'missing',
      number: 191,
      upTo: 200,
      line: 91,
    });
    expect((await verify(without(0, 100))).finding).toMatchObject({
      problem: 'missing',
      number: 101,
      upTo: 200,
    });
    const wider = await exportText(audited, { from: 99, to: 203 });
    const manifest = lines.at(-1) ?? '';
    expect((await verify([...wider.lines.slice(0, 102), manifest].join(''))).finding).toMatchObject({
      problem: 'misplaced',
      number: 99,
      line: 1,
    });
    expect((await verify([...wider.lines.slice(2, -1), manifest].join(''))).finding).toMatchObject({
      problem: 'misplaced',
      number: 201,
      line: 101,
    });
  });
});

describe('keys that were exchanged', () => {
  it('leave what the old one signed, and go on from there', async () => {
    const { verify, key: old, ...audited } = await setup();
    const key = createKey();
    await writeHistory(audited.store, 147);
    await seal(audited);
    await createSealSigner({ database: audited.database, key }).signNew('2026-05-19T13:00:00.000Z');
    const exported = await exportText(audited, { key });
    const seals = manifestOf(exported)['seals'] as { events: number; keyId: string }[];
    expect(seals.map(({ events, keyId }) => [events, keyId])).toEqual([
      [SEAL_INTERVAL, old.id],
      [2 * SEAL_INTERVAL, old.id],
      [3 * SEAL_INTERVAL, key.id],
    ]);
    const proves = async (trust: TestKey) => (await verify(exported.text, { keys: trust.trusted })).finding;
    expect(await proves(key)).toBeNull();
    expect(await proves(old)).toMatchObject({ problem: 'signature', number: 2 * SEAL_INTERVAL + 1 });
  });
});
