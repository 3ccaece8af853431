import { afterAll, beforeAll } from 'vitest';

/** Something costly that blocks of tests of one file have in common. */
interface Shared<Thing> {
  /** Blocks that have still to use it. */
  users: number;
  started: Promise<Thing> | null;
}

/** @returns what `start` gave, while the block's tests run */
export type Share<Thing> = (key: string, start: () => Promise<Thing>) => () => Thing;

/**
 * Things that several `describe` blocks of a test file share: the first block that comes to run starts one, the last block ends
 * it. To be called at the top of a file, and what it returns inside of each block.
 */
export function sharing<Thing>(end: (thing: Thing) => Promise<void>): Share<Thing> {
  const all = new Map<string, Shared<Thing>>();

  async function finish(shared: Shared<Thing>): Promise<void> {
    const { started } = shared;
    shared.started = null;
    // What could not start has told its tests.
    const thing = await started?.catch(() => undefined);
    if (thing !== undefined) await end(thing);
  }

  // A block whose tests are all left out, by a filter, does not come to its end.
  afterAll(async () => {
    for (const shared of all.values()) await finish(shared);
  });

  return (key, start) => {
    const shared = all.get(key) ?? { users: 0, started: null };
    all.set(key, shared);
    shared.users++;
    let thing: Thing | undefined;
    beforeAll(async () => {
      shared.started ??= start();
      thing = await shared.started;
    });
    afterAll(async () => {
      if (--shared.users === 0) await finish(shared);
    });
    return () => {
      if (thing === undefined) throw new Error('It has not started yet');
      return thing;
    };
  };
}
