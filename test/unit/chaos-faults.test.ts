import { expect, it } from 'vitest';
import { inflictAll } from '../chaos/faults/inflict.ts';
import { reset } from '../chaos/faults/links.ts';
import { diskFull } from '../chaos/faults/parts.ts';
import { Random } from '../chaos/random.ts';
import type { Stage } from '../chaos/stage.ts';

const never = new AbortController().signal;

it('names the link that it struck, not the one that was drawn and had no connection', async () => {
  const link = (name: string, connections: number) => ({
    name,
    to: 'api',
    proxy: { connections, reset: () => connections },
  });
  const stage = { links: [link('api-1', 0), link('api-2', 3)] } as unknown as Stage;
  const fault = Array.from({ length: 50 }, (_, seed) => reset('api')(new Random(seed), stage)).find(
    ({ target }) => target === 'api-1',
  );
  expect(await inflictAll([{ fault: fault!, at: 0 }], never, () => undefined)).toEqual([
    { kind: 'reset: api', target: 'api-2', at: 0, failure: null },
  ]);
});

it('does not count a full disk on which Postgres finds room', async () => {
  let isFull = false;
  const disk = {
    fill: () => Promise.resolve((isFull = true)),
    isFull: () => Promise.resolve(isFull),
    makeRoom: () => Promise.resolve((isFull = false)),
  };
  const postgres = { ready: () => Promise.resolve(), hasNoRoom: () => Promise.resolve(false) };
  const fault = diskFull(new Random(1), { disk, postgres } as unknown as Stage);
  await expect(fault.inflict(never, () => undefined)).rejects.toThrow('There was room for Postgres');
  expect(isFull).toBe(false);
});
