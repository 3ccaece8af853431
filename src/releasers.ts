import { errorMessage } from './errors.ts';
import type { Logger } from './logger.ts';

/** What was acquired and has to be given back, last in first out. */
export class Releasers {
  readonly #logger: Logger;
  readonly #stack: { name: string; release: () => Promise<void> }[] = [];

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** @param name of the part, for the log */
  push(name: string, release: () => Promise<void>): void {
    this.#stack.push({ name, release });
  }

  /** Gives everything back, each exactly once; one that fails does not keep the others. */
  async releaseAll(): Promise<void> {
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
