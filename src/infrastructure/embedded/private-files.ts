import { randomUUID } from 'node:crypto';
import { access, constants, mkdir, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

import { errorMessage, StartupError } from '../../errors.ts';

/**
 * Makes the folder (mode 0700) when it is missing and proves that this process can write in it.
 * @returns its real path
 * @throws StartupError that names the folder and the reason
 */
export async function prepareDirectory(path: string): Promise<string> {
  try {
    await makeFolder(resolve(path));
    const real = await realpath(path);
    await access(real, constants.R_OK | constants.W_OK | constants.X_OK);
    // Root passes every access check, so only a write shows a read-only or full disk.
    const probe = join(real, `.write-test-${randomUUID()}`);
    await writeAndSync(probe, 'asyncly');
    await rm(probe);
    return real;
  } catch (error) {
    throw storageError(error, path);
  }
}

/** Node's own recursive mkdir hides the reason (EROFS shows as ENOENT) and never ends below /proc. */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    const code = errorCode(error);
    if (code === 'EEXIST' && (await stat(path)).isDirectory()) return;
    if (code !== 'ENOENT' || dirname(path) === path) throw error;
    await makeFolder(dirname(path));
    await mkdir(path, { mode: 0o700 });
  }
}

/**
 * Replaces a file of mode 0600 at once: a reader, or a crash, sees the old text or the new, never half.
 * @throws StartupError that names the file and the reason
 */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  const draft = `${path}.${randomUUID()}`;
  try {
    await writeAndSync(draft, text);
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true }).catch(() => undefined);
    throw storageError(error, path);
  }
}

async function writeAndSync(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

const reasons: Readonly<Record<string, string>> = {
  EACCES: 'this user may not write there; change its owner or mode, or set DATA_DIR to another folder',
  EPERM: 'this user may not write there; change its owner or mode, or set DATA_DIR to another folder',
  EROFS: 'the file system is read-only; set DATA_DIR to a folder that can be written',
  ENOSPC: 'the disk is full; free some space, or set DATA_DIR to another disk',
  EDQUOT: "this user's disk quota is used up; free some space, or set DATA_DIR to another disk",
  ENOTDIR: 'a part of the path is a file, not a folder; set DATA_DIR to a folder',
  EEXIST: 'it is a file, not a folder; set DATA_DIR to a folder',
};

/** A StartupError for a failed file operation on `path`, with the cause put in words. */
export function storageError(error: unknown, path: string): StartupError {
  if (error instanceof StartupError) return error;
  const code = errorCode(error);
  const reason = (code === undefined ? undefined : reasons[code]) ?? errorMessage(error);
  return new StartupError(
    `DATA_DIR: ${path} can't be used: ${reason}.`,
    { path, cause: code },
    { cause: error },
  );
}

/** The `code` of a Node or Postgres error, when it has one. */
export function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
