import { execFile } from 'node:child_process';
import { writeFile, rm, statfs } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const SIZE = '2g';

/** A file system of the run's own, in memory, that can be made full. */
export interface SmallDisk {
  readonly folder: string;
  /** Leaves not a byte of room. @throws when something can still be written */
  fill(): Promise<void>;
  /** Whether there is no room now. */
  isFull(): Promise<boolean>;
  makeRoom(): Promise<void>;
  dispose(): Promise<void>;
}

/**
 * Mounts one. Needs the mount namespace that `inNamespaceOfItsOwn` gives, with which it ends.
 * @param folder an empty one
 */
export async function mountSmallDisk(folder: string): Promise<SmallDisk> {
  // Open to the user that root runs Postgres as.
  await run('mount', ['-t', 'tmpfs', '-o', `size=${SIZE},mode=0755`, 'asyncly-chaos', folder]);
  const resize = (size: string | number): Promise<unknown> =>
    run('mount', ['-o', `remount,size=${size}`, folder]);

  async function isFull(): Promise<boolean> {
    const probe = path.join(folder, 'probe');
    try {
      await writeFile(probe, Buffer.alloc(64 * 1024));
      return false;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return true;
      throw error;
    } finally {
      await rm(probe, { force: true });
    }
  }

  return {
    folder,
    isFull,
    async fill() {
      // What is written meanwhile makes the new size too small.
      for (let tries = 0; tries < 20; tries++) {
        const { blocks, bfree, bsize } = await statfs(folder);
        try {
          await resize((blocks - bfree) * bsize);
          if (await isFull()) return;
        } catch {
          continue;
        }
      }
      throw new Error('The disk does not get full');
    },
    async makeRoom() {
      await resize(SIZE);
    },
    async dispose() {
      await run('umount', ['--lazy', folder]);
    },
  };
}
