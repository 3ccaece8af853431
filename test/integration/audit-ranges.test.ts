import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { SEAL_INTERVAL } from '../../src/audit/chain.ts';
import type { Bound } from '../../src/audit/locate.ts';
import { jobStream } from '../../src/events/job.ts';
import { adapters, createVerifier, exportText, manifestOf, seal } from '../support/auditing.ts';
import type { AuditedStore } from '../support/auditing.ts';
import { copiedEvent, writeHistory } from '../support/copying.ts';
import { restored } from '../support/tampering.ts';

const at = (minute: number): Date => new Date(Date.UTC(2026, 4, 19, 10, minute));

describe.each(adapters)('a range of the events in $adapter', ({ open }) => {
  it('joins the one before it, wherever they are cut', async () => {
    const audited = await open();
    const count = await writeHistory(audited.store, 160);
    await seal(audited);
    const verify = await createVerifier();
    const whole = await exportText(audited);
    const cuts = [0, 1, 33, SEAL_INTERVAL - 1, SEAL_INTERVAL, SEAL_INTERVAL + 1, count];
    let chain = manifestOf(whole)['chainBefore'];
    const joined: string[] = [];
    for (const [index, cut] of cuts.slice(1).entries()) {
      const range = await exportText(audited, { from: (cuts[index] ?? 0) + 1, to: cut });
      expect(await verify(range.text)).toMatchObject({ finding: null });
      const { chainBefore, chainAfter, first, last } = manifestOf(range);
      expect({ chainBefore, first, last }).toEqual({
        chainBefore: chain,
        first: (cuts[index] ?? 0) + 1,
        last: cut,
      });
      chain = chainAfter;
      joined.push(...range.lines.slice(0, -1));
    }
    expect(chain).toBe(manifestOf(whole)['chainAfter']);
    expect(joined).toEqual(whole.lines.slice(0, -1));
  });

  it('is the same before the seals are made, and refused when there is none such', async () => {
    const audited = await open();
    const count = await writeHistory(audited.store, 3);
    const early = await exportText(audited, { from: 5, to: 9 });
    await seal(audited);
    expect((await exportText(audited, { from: 5, to: 9 })).text).toBe(early.text);
    await expect(exportText(audited, { from: 5, to: count + 1 })).rejects.toMatchObject({
      code: 'RANGE_BEYOND_END',
      message: `There is no event ${count + 1}: the store has ${count}`,
    });
    await expect(exportText(audited, { from: count + 1 })).rejects.toMatchObject({
      code: 'RANGE_BEYOND_END',
    });
    await expect(exportText(audited, { from: 7, to: 6 })).rejects.toMatchObject({ code: 'EMPTY_RANGE' });
  });

  it('may be empty', async () => {
    const audited = await open();
    const verify = await createVerifier();
    for (const expected of [0, 7]) {
      const nothing = await exportText(audited, { from: at(0) });
      expect(manifestOf(nothing)).toMatchObject({ first: expected + 1, last: expected, count: 0 });
      expect(await verify(nothing.text)).toMatchObject({ finding: null, contents: { events: 0 } });
      const { lines } = await exportText(audited);
      expect(manifestOf(nothing)['chainBefore']).toBe(manifestOf({ lines, text: '' })['chainAfter']);
      if (expected === 0) await writeHistory(audited.store, 1);
    }
  });
});

describe('a range by time', () => {
  /** Events of these minutes, in this order; null: one without a time. */
  async function setup(minutes: readonly (number | null)[], sealed: boolean): Promise<AuditedStore> {
    const [{ open }] = adapters;
    const audited = await open();
    const events = minutes.map((minute) => {
      const event = copiedEvent();
      const occurredAt = minute === null ? 'some day' : at(minute).toISOString();
      return { ...event, metadata: { ...event.metadata, occurredAt } };
    });
    const stream = jobStream(randomUUID());
    for (let first = 0; first < events.length; first += 500) {
      await audited.store.append(stream, events.slice(first, first + 500), {
        expected: first === 0 ? 'no_stream' : first - 1,
      });
    }
    if (sealed) await seal(audited);
    return audited;
  }

  async function numbers(audited: AuditedStore, from: Bound | null, to: Bound | null) {
    const exported = await exportText(audited, { from, to });
    const lines = exported.lines.slice(0, -1).map(restored);
    const { first, last, count } = manifestOf(exported);
    expect(lines.map(({ number }) => number)).toEqual(
      Array.from({ length: count as number }, (_, index) => (first as number) + index),
    );
    return [first, last];
  }

  it.each([true, false])(
    'has every event of that time, though clocks differ (sealed: %s)',
    async (sealed) => {
      const audited = await setup([1, 3, 2, null, 5, 4, 9], sealed);
      const cases: [Bound | null, Bound | null, number, number][] = [
        [at(2), at(2), 2, 3],
        [at(3), at(4), 2, 6],
        [at(4), null, 5, 7],
        [null, at(3), 1, 3],
        [at(6), at(8), 7, 6],
        [at(10), null, 8, 7],
        [null, at(0), 1, 0],
        [2, at(5), 2, 6],
        [at(5), 6, 5, 6],
      ];
      for (const [from, to, first, last] of cases) {
        expect(await numbers(audited, from, to)).toEqual([first, last]);
      }
    },
  );

  it('is found by the seals', async () => {
    // Three seals and a rest: minutes rise by seal, but for one that is late and one that is early.
    const minutes: number[] = Array.from(
      { length: 3 * SEAL_INTERVAL + 100 },
      (_, n) => Math.floor(n / SEAL_INTERVAL) * 10,
    );
    minutes[10] = 15;
    minutes[2 * SEAL_INTERVAL + 500] = 9;
    const audited = await setup(minutes, true);
    expect(await numbers(audited, at(10), at(10))).toEqual([11, 2 * SEAL_INTERVAL + 501]);
    expect(await numbers(audited, at(20), at(29))).toEqual([2 * SEAL_INTERVAL + 1, 3 * SEAL_INTERVAL]);
    expect(await numbers(audited, at(16), at(19))).toEqual([2 * SEAL_INTERVAL + 1, 2 * SEAL_INTERVAL + 501]);
    expect(await numbers(audited, at(21), null)).toEqual([3 * SEAL_INTERVAL + 1, 3 * SEAL_INTERVAL + 100]);
    expect(await numbers(audited, at(0), at(8))).toEqual([1, SEAL_INTERVAL]);
  });
});
