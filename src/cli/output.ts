import { open, rename, rm } from 'node:fs/promises';
import { AppError, errorMessage } from '../errors.ts';
import { openLines } from './lines.ts';

class OutputError extends AppError {
  constructor(where: string, cause: unknown) {
    super('OUTPUT', `Cannot write to ${where}: ${errorMessage(cause)}`, { where }, { cause });
  }
}

/**
 * Writes a file that is there whole or not at all, readable by its owner alone: what is not done yet stands beside it, under
 * another name. A file of that name is replaced.
 * @throws OutputError, or what making the texts throws; nothing is left behind then
 */
export async function writeWhole(file: string, texts: AsyncIterable<string>): Promise<void> {
  const draft = `${file}.${process.pid}.part`;
  const handle = await attempt(file, () => open(draft, 'wx', 0o600));
  try {
    try {
      for await (const text of texts) await attempt(file, () => handle.appendFile(text));
      await attempt(file, () => handle.sync());
    } finally {
      await handle.close();
    }
    await attempt(file, () => rename(draft, file));
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

/**
 * Writes to standard output, no faster than it is read.
 * @param texts each ends with a line feed
 * @throws OutputError when its reader goes away, or what making the texts throws
 */
export async function writeOut(texts: AsyncIterable<string>): Promise<void> {
  const lines = openLines();
  for await (const text of texts) {
    const goesOn = await attempt('standard output', () => lines.write(text.slice(0, -1)));
    if (!goesOn) throw new OutputError('standard output', new Error('its reader has gone away'));
  }
}

async function attempt<T>(where: string, write: () => Promise<T>): Promise<T> {
  return write().catch((error: unknown) => {
    throw new OutputError(where, error);
  });
}
