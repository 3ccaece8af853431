import { setTimeout as delay } from 'node:timers/promises';

/** Waits, or returns early when the signal aborts. */
export async function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  await delay(milliseconds, undefined, signal ? { signal } : {}).catch(() => undefined);
}

/** Exponential backoff with jitter. @param failures in a row so far, from 1 @returns milliseconds, at most `most` */
export function backoff(failures: number, first: number, most: number): number {
  return Math.min(first * 2 ** (failures - 1), most) * (0.5 + Math.random() / 2);
}

/** The signal's state now. A call, because the compiler takes an earlier look at `aborted` for the state ever after. */
export function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

/**
 * What `answer` settles with, or the error that `late` makes once it has taken too long. An answer that has arrived by then counts,
 * however long this process was too busy to look.
 */
export function within<T>(answer: Promise<T>, milliseconds: number, late: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    let giveUp: NodeJS.Immediate | undefined;
    const timer = setTimeout(() => {
      // Between timers and immediates the event loop reads from its sockets.
      giveUp = setImmediate(() => reject(late()));
    }, milliseconds);
    void answer.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      clearImmediate(giveUp);
    });
  });
}

/**
 * One run of `ask` for all who want its answer at the same time. Who comes while one is under way shares the next: an answer is never
 * older than the question.
 */
export function shared<T>(ask: () => Promise<T>): () => Promise<T> {
  let running: Promise<unknown> = Promise.resolve();
  let next: Promise<T> | null = null;
  return () => {
    next ??= running.then(() => {
      next = null;
      const answer = ask();
      running = answer.catch(() => undefined);
      return answer;
    });
    return next;
  };
}
