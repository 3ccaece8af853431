import { closeSync, constants, fchmodSync, fstatSync, openSync, readFileSync } from 'node:fs';
import type { Stats } from 'node:fs';

/**
 * Reads a file with secrets that this user, or root, has put there. Where others may write into the folder they could have left a file of
 * their own, or a link to one of ours: neither is read, and no link is followed to the file whose mode is set.
 * @throws the system's error; an Error that says what is wrong with the file
 */
export function readOwnFile(path: string): string {
  const file = open(path);
  try {
    const stats = fstatSync(file);
    if (!stats.isFile()) throw new Error('it is no regular file');
    if (!isOurs(stats)) throw new Error(`it belongs to another user (uid ${stats.uid})`);
    // Others have no business with it, whatever a restored backup says.
    if ((stats.mode & 0o077) !== 0) fchmodSync(file, 0o600);
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}

function open(path: string): number {
  try {
    // A pipe without a writer would keep an ordinary open waiting. Systems that know neither flag have neither danger.
    const { O_RDONLY, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants as Partial<typeof constants>;
    return openSync(path, (O_RDONLY ?? 0) | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw code === 'ELOOP' ? new Error('it is a symbolic link', { cause: error }) : error;
  }
}

/** Windows has no user ids, and gives access by other means. */
function isOurs({ uid }: Stats): boolean {
  const own = process.getuid?.();
  return own === undefined || uid === own || uid === 0;
}
