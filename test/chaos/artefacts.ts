import { createWriteStream, mkdtempSync } from 'node:fs';
import type { WriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** Most characters of one log: a process that repeats itself must not fill the disk. */
const MOST_KEPT = 100_000_000;

/** A folder with what the processes said and what became of the run. */
export class Artefacts {
  readonly folder: string;
  readonly #logs = new Map<string, WriteStream>();
  readonly #written = new Map<string, number>();

  constructor() {
    this.folder = mkdtempSync(path.join(tmpdir(), 'asyncly-chaos-'));
  }

  file(name: string): string {
    return path.join(this.folder, name);
  }

  /** Adds to a log; the first call makes it. */
  log(name: string, text: string): void {
    const written = (this.#written.get(name) ?? 0) + text.length;
    if (written > MOST_KEPT) return;
    this.#written.set(name, written);
    let out = this.#logs.get(name);
    if (out === undefined) {
      out = createWriteStream(this.file(`${name}.log`), { flags: 'a' });
      // A run goes on without a log that cannot be written.
      out.on('error', () => undefined);
      this.#logs.set(name, out);
    }
    out.write(text);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#logs.values()].map((out) => new Promise((done) => out.end(done))));
  }

  remove(): Promise<void> {
    return rm(this.folder, { recursive: true, force: true });
  }
}
