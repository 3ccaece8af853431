import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../../src/audit/canonical-json.ts';
import { GENESIS, leafHash, linkHash } from '../../src/audit/chain.ts';
import { MerkleTree } from '../../src/audit/merkle-tree.ts';
import { stored } from '../support/store.ts';

const sha256 = (...parts: readonly (string | Buffer)[]): Buffer =>
  parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();

describe('canonical JSON', () => {
  it('is that of RFC 8785, section 3.2.2 and 3.2.3', () => {
    expect(
      canonicalJson(
        JSON.parse(String.raw`{
          "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
          "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
          "literals": [null, true, false]
        }`),
      ),
    ).toBe(
      String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
    );
    const keys = ['\u20ac', '\r', '\ufb33', '1', '\ud83d\ude00', '\u0080', '\u00f6'];
    const text = canonicalJson(Object.fromEntries(keys.map((key) => [key, 0])));
    const sorted = [...text.matchAll(/"((?:[^"\\]|\\.)*)":/g)].map(([, key]) => key);
    expect(sorted).toEqual([String.raw`\r`, '1', '\u0080', '\u00f6', '\u20ac', '\ud83d\ude00', '\ufb33']);
  });

  it('writes a lone surrogate as its escape, and NUL', () => {
    expect(canonicalJson('\ud800a\udfff\u0000😀')).toBe(String.raw`"\ud800a\udfff\u0000😀"`);
  });

  it('is one text for one value, and the value comes back from it', () => {
    const strings = fc.string({ unit: 'binary' }).map((text) => `${text}\ud800`);
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary', maxDepth: 2 }), strings, (value, text) => {
        const given: unknown = JSON.parse(JSON.stringify({ value, text, __proto__: null }));
        const canonical = canonicalJson(given);
        expect(JSON.parse(canonical)).toEqual(given);
        expect(canonicalJson(JSON.parse(canonical))).toBe(canonical);
        expect(canonicalJson(shuffled(given))).toBe(canonical);
      }),
      { numRuns: 50 },
    );
  });

  it('keeps a key named __proto__', () => {
    const text = '{"__proto__":{"a":1},"b":2}';
    expect(canonicalJson(JSON.parse(text))).toBe(text);
  });

  it.each([undefined, NaN, Infinity, () => 1, new Uint8Array(2), { a: [1n] }])(
    'refuses what is no JSON: %s',
    (value) => {
      expect(() => canonicalJson(value)).toThrow(TypeError);
    },
  );
});

/** The same value with its keys the other way round. */
function shuffled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shuffled);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, inner]) => [key, shuffled(inner)]),
  );
}

describe('the Merkle tree', () => {
  // The example tree of Certificate Transparency's own tests.
  const leaves = [
    '',
    '00',
    '10',
    '2021',
    '3031',
    '40414243',
    '5051525354555657',
    '606162636465666768696a6b6c6d6e6f',
  ];
  const roots = [
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
    'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
    'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
    'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
    '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
    'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
    '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
  ];

  it('is that of RFC 6962', () => {
    const tree = new MerkleTree();
    const grown = [tree.root().toString('hex')];
    for (const leaf of leaves) {
      tree.add(sha256(Buffer.of(0), Buffer.from(leaf, 'hex')));
      grown.push(tree.root().toString('hex'));
    }
    expect(grown).toEqual(roots);
  });
});

describe('the hash of an event', () => {
  const event = {
    ...stored({ type: 'JobRetried', data: { round: 2 } }),
    stream: 'job-1',
    revision: 3,
  };

  it('is made of everything but its position', () => {
    const { id, type, data, metadata } = event;
    const { schemaVersion, correlationId, causationId, occurredAt, actor } = metadata;
    const text =
      `{"data":{"round":${String(data['round'])}},"id":"${id}",` +
      `"metadata":{"actor":{"id":"${actor.id}","kind":"${actor.kind}"},"causationId":"${causationId}",` +
      `"correlationId":"${correlationId}","occurredAt":"${occurredAt}","schemaVersion":${schemaVersion}},` +
      `"revision":3,"stream":"job-1","type":"${type}"}`;
    expect(leafHash(event)).toEqual(sha256(Buffer.of(0), text));
    const positioned = { ...event, position: 7n };
    expect(leafHash(positioned)).toEqual(leafHash(event));
    expect(leafHash({ ...event, id: id.toUpperCase() })).toEqual(leafHash(event));
    const others = [
      { ...event, stream: 'job-2' },
      { ...event, revision: 4 },
      { ...event, type: 'JobCancelled' },
      { ...event, data: { round: 3 } },
      { ...event, metadata: { ...metadata, actor: { ...actor, id: 'other' } } },
      { ...event, id: id.replace(/.$/, (digit) => (digit === '0' ? '1' : '0')) },
    ];
    for (const other of others) expect(leafHash(other)).not.toEqual(leafHash(event));
  });

  it('names the event when it is no JSON', () => {
    expect(() => leafHash({ ...event, data: { round: Infinity } })).toThrow(
      `Event ${event.id} (JobRetried, job-1@3) has no canonical form: Infinity is no JSON number`,
    );
  });

  it('goes into the chain behind what was before', () => {
    const leaf = leafHash(event);
    expect(GENESIS).toEqual(sha256('asyncly-audit/1'));
    expect(linkHash(GENESIS, leaf)).toEqual(sha256(Buffer.of(2), GENESIS, leaf));
  });
});
