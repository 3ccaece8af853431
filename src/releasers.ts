import { errorMessage } from './errors.ts';
import type { Logger } from './logger.ts';

/** What was acquired and has to be given back, last in first out. */
export class Releasers {
  readonly #logger: Logger;
  readonly #stack: { name: string; release: () => Promise<void> }[] = [];
  #releasing: Promise<void> = Promise.resolve();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** @param name of the part, for the log */
  push(name: string, release: () => Promise<void>): void {
    this.#stack.push({ name, release });
  }

  /**
   * Gives everything back, one after the other, each exactly once; one that fails does not keep the others. Resolves when
   * nothing is left, however often it is called.
   */
  releaseAll(): Promise<void> {
    // In a chain: a second call must neither overtake the first nor return before it is done.
    return (this.#releasing = this.#releasing.then(() => this.#drain()));
  }

  async #drain(): Promise<void> {
    for (let next = this.#stack.pop(); next; next = this.#stack.pop()) {
      const { name, release } = next;
      try {
        await release();
        this.#logger.debug({ part: name }, 'Stopped');
      } catch (error) {
        this.#logger.error({ part: name, reason: errorMessage(error) }, 'Stopping failed');
      }
    }
  }
}
