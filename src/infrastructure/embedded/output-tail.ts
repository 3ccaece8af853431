import { createInterface } from 'node:readline';

import { StartupError } from '../../errors.ts';
import type { ServerProcess } from './launcher.ts';

const kept = 20;

/** Passes a program's output on line by line and keeps the last lines, for the error if it fails. */
export class OutputTail {
  readonly #lines: string[] = [];

  constructor(process: ServerProcess, onLine: (line: string) => void) {
    for (const stream of [process.stdout, process.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        this.#lines.push(line);
        if (this.#lines.length > kept) this.#lines.shift();
        onLine(line);
      });
    }
  }

  get text(): string {
    return this.#lines.join('\n');
  }

  failure(what: string): StartupError {
    const cause = /No space left on device|Disk quota exceeded/.test(this.text)
      ? 'the disk is full; free some space, or set DATA_DIR to another disk'
      : 'its own words were';
    return new StartupError(`${what}: ${cause}:\n${this.text}`, { output: this.text });
  }
}
