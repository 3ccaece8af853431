import { execFile } from 'node:child_process';
import { chmod, chown, cp, mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { errorMessage, StartupError } from '../../errors.ts';
import type { Binaries } from './binaries.ts';
import { storageError } from './private-files.ts';

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

const run = promisify(execFile);
const user = 'postgres';

/**
 * Makes ready what root needs to run the server as the system user `postgres`: the user itself, the programs and a
 * home for the data outside folders only root may enter.
 * @param base folder of all such homes; @param home the one for this DATA_DIR
 * @throws StartupError
 */
export async function prepareSystemUser(
  base: string,
  home: string,
  binaries: Binaries,
): Promise<{ account: Account; binaries: Binaries }> {
  const account = await findAccount();
  try {
    await mkdir(base, { recursive: true });
    await chmod(base, 0o755);
    const folder = join(base, `programs-${binaries.version}-${process.arch}`);
    await copyPrograms(binaries.folder, folder);
    await mkdir(home, { recursive: true });
    await chmod(home, 0o700);
    await chown(home, account.uid, account.gid);
    const moved = (path: string): string => path.replace(binaries.folder, folder);
    return {
      account,
      binaries: { ...binaries, folder, initdb: moved(binaries.initdb), postgres: moved(binaries.postgres) },
    };
  } catch (error) {
    throw storageError(error, base);
  }
}

async function findAccount(): Promise<Account> {
  try {
    return await lookUp();
  } catch {
    // Not there yet.
  }
  try {
    await run('useradd', [
      '--system',
      '--user-group',
      '--no-create-home',
      '--shell',
      '/usr/sbin/nologin',
      user,
    ]);
  } catch (error) {
    // Another start may have made it just now.
    const account = await lookUp().catch(() => undefined);
    if (account !== undefined) return account;
    throw new StartupError(
      `Postgres doesn't run as root, and the system user "${user}" can't be made: ${errorMessage(error)}. Make it, start as an ordinary user, or set DATABASE_URL.`,
      { user },
      { cause: error },
    );
  }
  return lookUp();
}

async function lookUp(): Promise<Account> {
  const [uid, gid] = await Promise.all([run('id', ['-u', user]), run('id', ['-g', user])]);
  return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
}

async function copyPrograms(from: string, to: string): Promise<void> {
  if (await stat(to).catch(() => undefined)) return;
  const draft = `${to}.${process.pid}`;
  await rm(draft, { recursive: true, force: true });
  // The links are relative and must stay so.
  await cp(from, draft, { recursive: true, verbatimSymlinks: true });
  await run('chmod', ['-R', 'a+rX', draft]);
  await rename(draft, to).catch(async (error: unknown) => {
    await rm(draft, { recursive: true, force: true });
    if (!(await stat(to).catch(() => undefined))) throw error;
  });
}
