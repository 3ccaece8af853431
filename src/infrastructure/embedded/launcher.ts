import { execFile, spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';

import { StartupError } from '../../errors.ts';
import type { Binaries } from './binaries.ts';
import { prepareSystemUser } from './system-user.ts';
import type { Account } from './system-user.ts';

/**
 * How the server's programs are run. Postgres refuses root, so root runs it in a user namespace, where the same files
 * belong to an ordinary user, or, where that is forbidden, as a system user with files of its own.
 */
export type LaunchMode = 'direct' | 'namespace' | 'system-user';

export type ServerProcess = ChildProcessByStdio<null, Readable, Readable>;

export interface Launcher {
  readonly mode: LaunchMode;
  /** The folder that holds the data directory: DATA_DIR, but for `system-user`. */
  readonly home: string;
  /** Makes what the mode needs. @throws StartupError */
  prepare(): Promise<void>;
  /**
   * Starts a program in a process group of its own, out of reach of Ctrl-C in our terminal.
   * @param deathSignal what it gets when this process dies without stopping it, where the system can do that
   */
  run(program: 'initdb' | 'postgres', args: readonly string[], deathSignal: 'INT' | 'KILL'): ServerProcess;
  /** The account that must own the server's files when it isn't this process's own. */
  readonly account: Account | undefined;
}

export interface LauncherOptions {
  /** Real path. */
  readonly dataDir: string;
  readonly binaries: Binaries;
  /** Where an earlier start put the data, when not into DATA_DIR. */
  readonly recordedHome: string | undefined;
  /** Overrides the choice, for tests. */
  readonly mode: LaunchMode | undefined;
  readonly systemFolder: string;
}

const execute = promisify(execFile);

/** @throws StartupError when the data is kept in a way this process can't get at */
export async function chooseLauncher(options: LauncherOptions): Promise<Launcher> {
  const { dataDir, binaries, recordedHome, systemFolder } = options;
  const root = process.getuid?.() === 0;
  const wrapper = (await succeeds('setpriv', ['--pdeathsig', 'INT', 'true'])) ? 'setpriv' : undefined;
  const namespace = await namespaceArguments();
  const mode = options.mode ?? (await chooseMode());

  async function chooseMode(): Promise<LaunchMode> {
    if (!root && recordedHome !== undefined) {
      throw new StartupError(
        `The database of ${dataDir} belongs to a system user: start as root, as before.`,
      );
    }
    if (!root && hasAccount()) return 'direct';
    if (recordedHome !== undefined) return 'system-user';
    if (await reachableInNamespace()) return 'namespace';
    if (!root) return 'direct';
    if (await succeeds('test', ['-e', join(dataDir, 'postgres', 'PG_VERSION')])) {
      throw new StartupError(
        `The database in ${dataDir} was started in a user namespace before, which this system forbids now or which can't reach the folder. Allow user namespaces, or move the folder and give it to an ordinary user and start as that user.`,
      );
    }
    return 'system-user';
  }

  /** Inside the namespace root's powers are gone: folders above that belong to others may be closed. */
  async function reachableInNamespace(): Promise<boolean> {
    const script = 'test -w "$1" && "$2" --version';
    return succeeds('unshare', [...namespace, 'sh', '-c', script, 'sh', dataDir, binaries.postgres]);
  }

  let account: Account | undefined;
  let programs = binaries;
  const hash = createHash('sha256').update(dataDir).digest('hex').slice(0, 16);
  const home = mode === 'system-user' ? (recordedHome ?? join(systemFolder, hash)) : dataDir;
  return {
    mode,
    home,
    get account() {
      return account;
    },
    async prepare() {
      if (mode !== 'system-user') return;
      ({ account, binaries: programs } = await prepareSystemUser(systemFolder, home, binaries));
    },
    run(program, args, deathSignal) {
      const command = [
        ...(mode === 'namespace' ? ['unshare', ...namespace] : []),
        // Changing credentials clears the death signal, so this comes after unshare.
        ...(wrapper === undefined ? [] : [wrapper, '--pdeathsig', deathSignal]),
        programs[program],
        ...args,
      ];
      return spawn(command[0] ?? program, command.slice(1), {
        cwd: home,
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
        windowsHide: true,
        ...account,
      });
    },
  };
}

/** initdb wants its user to have a name, so the namespace maps to one that the system knows. */
async function namespaceArguments(): Promise<readonly string[]> {
  const passwd = await readFile('/etc/passwd', 'utf8').catch(() => '');
  const ids = passwd.split('\n').map((line) => Number(line.split(':')[2] ?? Number.NaN));
  const id = ids.includes(1000) ? 1000 : (ids.find((uid) => uid > 0) ?? 1000);
  return ['--user', `--map-user=${id}`, `--map-group=${id}`];
}

function hasAccount(): boolean {
  try {
    userInfo();
    return true;
  } catch {
    return false;
  }
}

async function succeeds(file: string, args: readonly string[]): Promise<boolean> {
  return execute(file, args, { timeout: 10_000 }).then(
    () => true,
    () => false,
  );
}
