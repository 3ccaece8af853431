import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';

/** What to submit for a job that runs until `release` is called, or the test ends. */
export async function holdable(): Promise<{
  body: { type: string; payload: object };
  release: () => Promise<void>;
}> {
  const folder = await mkdtemp(path.join(tmpdir(), 'asyncly-hold-'));
  const release = (): Promise<void> => rm(folder, { recursive: true, force: true });
  onTestFinished(release);
  const file = path.join(folder, 'held');
  await writeFile(file, '');
  return { body: { type: 'hold', payload: { file } }, release };
}
