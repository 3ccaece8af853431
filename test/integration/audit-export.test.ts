import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MerkleTree } from '../../src/audit/merkle-tree.ts';
import { leafHash } from '../../src/audit/chain.ts';
import { adapters, createVerifier, exportText, manifestOf, seal, writeEvents } from '../support/auditing.ts';
import { copiedEvent, writeHistory } from '../support/copying.ts';
import { history } from '../support/histories.ts';
import { everything } from '../support/store.ts';
import { forged, restored } from '../support/tampering.ts';

/** A history of at least a few events. */
const histories = history.filter((events) => events.length >= 4);

describe.each(adapters)('an export from $adapter', ({ open }) => {
  it('has every event as a CloudEvent from which it can be restored, and a manifest', async () => {
    const audited = await open();
    const { store } = audited;
    const count = await writeHistory(store, 12);
    const odd = { ...copiedEvent().metadata, extra: { deep: ['\u0000', null] } };
    await store.append(
      'job-0196e7d2-0001-7000-8000-000000000001',
      [
        { id: '0196e7d2-0001-7000-8000-0000000000AA', type: 'Tested', data: {}, metadata: odd },
        {
          id: '0196e7d2-0001-7000-8000-0000000000ab',
          type: 'Tested',
          data: {},
          metadata: { ...odd, actor: 7 as never },
        },
      ],
      { expected: 'no_stream' },
    );
    await seal(audited);
    const exported = await exportText(audited);
    const events = await everything(store);
    const lines = exported.lines.slice(0, -1);
    expect(lines).toHaveLength(count + 2);
    expect(lines.map((line) => ({ ...restored(line).event, position: null }))).toEqual(
      events.map((event) => ({ ...event, id: event.id.toLowerCase(), position: null })),
    );
    for (const line of exported.lines) expectCloudEvent(JSON.parse(line) as Record<string, unknown>);

    const tree = new MerkleTree();
    for (const event of events) tree.add(leafHash(event));
    expect(manifestOf(exported)).toMatchObject({
      format: 'asyncly-audit/1',
      first: 1,
      last: count + 2,
      count: count + 2,
      root: tree.root().toString('hex'),
      exportedAt: '2026-05-20T00:00:00.000Z',
      software: 'asyncly test',
      keyId: null,
    });
    const verify = await createVerifier();
    expect(await verify(exported.text)).toMatchObject({
      finding: null,
      proofs: [],
      contents: { events: count + 2 },
    });
  });

  it(
    'shows which event was changed, removed, added or moved, whatever the history',
    { timeout: 120_000 },
    async () => {
      const audited = await open();
      const verify = await createVerifier();
      let written = 0;
      await fc.assert(
        fc.asyncProperty(histories, fc.infiniteStream(fc.nat()), async (events, chance) => {
          await writeEvents(audited.store, events);
          const first = written + 1;
          written += events.length;
          await seal(audited);
          const { lines } = await exportText(audited, { from: first });
          expect(lines).toHaveLength(events.length + 1);
          const roll = (below: number): number => (chance.next().value as number) % below;

          for (let n = 0; n < 12; n++) {
            const index = roll(events.length);
            const bytes = Buffer.from(lines[index] ?? '');
            const at = roll(bytes.length);
            bytes[at] = (bytes[at] ?? 0) ^ (1 + roll(255));
            const { finding } = await verify(
              Buffer.concat([
                Buffer.from(lines.slice(0, index).join('')),
                bytes,
                Buffer.from(lines.slice(index + 1).join('')),
              ]),
            );
            expect(finding).toMatchObject({ number: first + index, line: index + 1 });
          }

          const gone = roll(events.length);
          const removed = await verify(lines.filter((_, index) => index !== gone).join(''));
          expect(removed.finding).toMatchObject({ problem: 'missing', number: first + gone, line: gone + 1 });

          const one = roll(events.length - 1);
          const other = one + 1 + roll(events.length - 1 - one);
          const swapped = await verify(
            lines
              .map((line, index) => (index === one ? lines[other] : index === other ? lines[one] : line))
              .join(''),
          );
          expect(swapped.finding?.problem).toBe('misplaced');
          expect([first + one, first + other]).toContain(swapped.finding?.number);

          const copied = roll(events.length);
          const place = roll(events.length + 1);
          const added = await verify(
            [...lines.slice(0, place), lines[copied], ...lines.slice(place)].join(''),
          );
          expect(added.finding).toMatchObject({ problem: 'misplaced', number: first + copied });

          const victim = roll(events.length - 1);
          const made = await verify(
            lines.map((line, index) => (index === victim ? forged(line, { forged: true }) : line)).join(''),
          );
          expect(made.finding).toMatchObject({
            problem: 'changed',
            number: first + victim,
            line: victim + 1,
          });
        }),
        { numRuns: 8 },
      );
    },
  );
});

/** CloudEvents 1.0, sections 3 and, for JSON, 3.1. */
function expectCloudEvent(event: Record<string, unknown>): void {
  const { data, ...attributes } = event;
  expect(data).toBeDefined();
  expect(attributes).toMatchObject({
    specversion: '1.0',
    id: expect.stringMatching(/./) as unknown,
    source: 'asyncly',
    type: expect.stringMatching(/./) as unknown,
    datacontenttype: 'application/json',
  });
  for (const [name, value] of Object.entries(attributes)) {
    expect(name).toMatch(/^[a-z0-9]{1,20}$/);
    expect(['string', 'number', 'boolean']).toContain(typeof value);
    if (typeof value === 'number') expect(value).toBe(value | 0);
    // eslint-disable-next-line no-control-regex
    if (typeof value === 'string') expect(value).toMatch(/^[^\u0000-\u001f\u007f-\u009f]+$/);
  }
  if (attributes['time'] !== undefined) expect(attributes['time']).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
}
