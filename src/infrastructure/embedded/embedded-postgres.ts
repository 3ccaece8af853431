import { StartupError } from '../../errors.ts';
import { findBinaries } from './binaries.ts';
import { readClusterRecord } from './cluster.ts';
import { chooseLauncher } from './launcher.ts';
import type { Launcher, LaunchMode } from './launcher.ts';
import type { Logger } from '../../logger.ts';
import { prepareDirectory } from './private-files.ts';
import { lockAddress, releaseLocks, tryLock } from './process-lock.ts';
import type { ProcessLock } from './process-lock.ts';
import { Session } from './session.ts';

export interface EmbeddedPostgres {
  /** Connection string for database `asyncly`. It stays the same when the server is restarted or taken over. */
  readonly url: string;
  /** Whether this process runs the server now. An attached process becomes the owner when the owner ends. */
  readonly owner: boolean;
  /** As owner: shuts the server down (connections are cut) and lets DATA_DIR go. Attached: leaves. Idempotent. */
  stop(): Promise<void>;
}

export interface EmbeddedPostgresOptions {
  readonly dataDir: string;
  /** What this process does: each role runs once per DATA_DIR. None (the CLI, tests) is never refused. */
  readonly roles: readonly string[];
  readonly logger: Logger;
  /** Server settings on top of ours, when this process starts the server. */
  readonly settings?: Readonly<Record<string, string>>;
  /** How to run the server's programs; chosen by user and system when left out. */
  readonly launchMode?: LaunchMode;
  /** Where a system user's programs and data go, when one has to run the server; default `/var/lib/asyncly`. */
  readonly systemFolder?: string;
}

/**
 * Opens the Postgres of this DATA_DIR: the first process starts the server and owns it, later ones attach to it, and
 * when the owner ends, one of those attached starts the server again on the same port.
 * @throws StartupError when a role already runs on this DATA_DIR, or the server can't be had; the message says why
 */
export async function openEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const [dataDir, binaries] = await Promise.all([prepareDirectory(options.dataDir), findBinaries()]);
  const record = readClusterRecord(dataDir);
  const launcher = await chooseLauncher({
    dataDir,
    binaries,
    recordedHome: record?.home,
    mode: options.launchMode,
    systemFolder: options.systemFolder ?? '/var/lib/asyncly',
  });
  // Locks go by where the data is, so that two copies of a DATA_DIR that share it exclude each other.
  const ownerLock = lockAddress(launcher.home, 'owner');
  const { logger, settings = {} } = options;
  const roleLocks = await lockRoles(options.roles, dataDir, launcher);
  try {
    const session = new Session({
      dataDir,
      launcher,
      major: binaries.major,
      ownerLock,
      roleLocks,
      settings,
      logger,
    });
    await session.open();
    return session;
  } catch (error) {
    await releaseLocks(roleLocks);
    throw error;
  }
}

async function lockRoles(
  roles: readonly string[],
  dataDir: string,
  launcher: Launcher,
): Promise<ProcessLock[]> {
  const locks: ProcessLock[] = [];
  for (const role of new Set(roles)) {
    const attempt = await tryLock(lockAddress(launcher.home, `role-${role}`));
    if (attempt.lock) {
      locks.push(attempt.lock);
      continue;
    }
    await releaseLocks(locks);
    const where = attempt.heldBy === undefined ? 'another process' : `process ${attempt.heldBy}`;
    throw new StartupError(
      `Role ${role} already runs in ${where} on DATA_DIR ${dataDir}. Stop that process, start this one with other ROLES, or set another DATA_DIR.`,
      { role, pid: attempt.heldBy, dataDir },
    );
  }
  return locks;
}
