/** Work in lanes: one piece at a time in each lane, in the order given, and at most so many lanes at once. */
export interface Lanes {
  /** Pieces that were given and have not ended. */
  readonly size: number;
  run<T>(lane: string, work: () => Promise<T>): Promise<T>;
  /** Resolves when everything given so far has ended. */
  idle(): Promise<void>;
}

/** @param width most pieces of work at the same time */
export function createLanes(width: number): Lanes {
  const tails = new Map<string, Promise<void>>();
  const queue: (() => void)[] = [];
  let free = width;
  let size = 0;

  async function inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => queue.push(resolve));
    try {
      return await work();
    } finally {
      const next = queue.shift();
      if (next) next();
      else free++;
    }
  }

  return {
    get size() {
      return size;
    },
    async run(lane, work) {
      size++;
      const before = tails.get(lane);
      const result = before === undefined ? inTurn(work) : before.then(() => inTurn(work));
      const tail = result.then(
        () => undefined,
        () => undefined,
      );
      tails.set(lane, tail);
      try {
        return await result;
      } finally {
        size--;
        if (tails.get(lane) === tail) tails.delete(lane);
      }
    },
    async idle() {
      await Promise.all(tails.values());
    },
  };
}
