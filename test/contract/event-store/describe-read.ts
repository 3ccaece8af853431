import { beforeEach, expect, it } from 'vitest';
import { readStream } from '../../../src/events/event-store.ts';
import { newCategory, newEvents } from './harness.ts';
import type { StoreUnderTest } from './harness.ts';

export function describeRead(subject: () => StoreUnderTest): void {
  let stream: string;
  const revisions = async (options: Parameters<StoreUnderTest['store']['read']>[1]): Promise<number[]> =>
    (await subject().store.read(stream, options)).map(({ revision }) => revision);

  beforeEach(async () => {
    stream = `${newCategory()}1`;
    await subject().store.append(stream, newEvents(10), { expected: 'no_stream' });
  });

  it('finds nothing in a stream that does not exist, in either direction', async () => {
    const missing = `${newCategory()}1`;
    expect(await subject().store.read(missing)).toEqual([]);
    expect(await subject().store.read(missing, { from: 3 })).toEqual([]);
    expect(await subject().store.read(missing, { direction: 'backwards' })).toEqual([]);
  });

  it('reads forwards from a revision, up to a limit', async () => {
    expect(await revisions({})).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(await revisions({ from: 7 })).toEqual([7, 8, 9]);
    expect(await revisions({ from: 3, limit: 2 })).toEqual([3, 4]);
    expect(await revisions({ limit: 1 })).toEqual([0]);
  });

  it('reads backwards from the end or from a revision, up to a limit', async () => {
    expect(await revisions({ direction: 'backwards', limit: 3 })).toEqual([9, 8, 7]);
    expect(await revisions({ direction: 'backwards', from: 2 })).toEqual([2, 1, 0]);
    expect(await revisions({ direction: 'backwards', from: 5, limit: 2 })).toEqual([5, 4]);
    expect(await revisions({ direction: 'backwards', from: 0 })).toEqual([0]);
  });

  it('finds nothing beyond the end, and starts at the end when it reads backwards from there', async () => {
    expect(await revisions({ from: 10 })).toEqual([]);
    expect(await revisions({ from: 1_000_000 })).toEqual([]);
    expect(await revisions({ direction: 'backwards', from: 1_000_000, limit: 2 })).toEqual([9, 8]);
  });

  it('walks through a whole stream page by page', async () => {
    for (const pageSize of [1, 3, 5, 10, 11]) {
      const seen: number[] = [];
      for await (const { revision } of readStream(subject().store, stream, 2, pageSize)) seen.push(revision);
      expect(seen).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
    }
  });
}
