import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';

/** From where npm starts scripts. */
const RESULTS = path.resolve('bench/results');

/** Writes what was measured to `bench/results/<name>.json`. */
export async function writeResults(name: string, results: object): Promise<void> {
  await mkdir(RESULTS, { recursive: true });
  await writeFile(path.join(RESULTS, `${name}.json`), `${JSON.stringify(results, null, 2)}\n`);
}
