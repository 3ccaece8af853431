import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

import { StartupError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';

const run = promisify(execFile);

/** Fast shutdown first, then an immediate one (recovery at the next start), then none of the server's own doing. */
const steps = [
  { signal: 'SIGINT', waitMs: 15_000 },
  { signal: 'SIGQUIT', waitMs: 5_000 },
  { signal: 'SIGKILL', waitMs: 5_000 },
] as const;

/**
 * Stops the server that a killed process has left running on this data directory, and removes its `postmaster.pid`
 * when the pid in it belongs to some other program by now (Postgres would refuse to start because of it).
 * Call it as the owner only.
 */
export async function stopOrphan(clusterPath: string, logger: Logger): Promise<void> {
  const pidFile = join(clusterPath, 'postmaster.pid');
  const text = await readFile(pidFile, 'utf8').catch(() => '');
  const pid = Number.parseInt(text, 10);
  if (!(pid > 0)) return;
  const command = await commandLine(pid);
  // Without a way to tell, Postgres's own check of the file decides.
  if (command === undefined) return;
  if (!isServerOf(command, clusterPath)) {
    if (isAlive(pid)) await rm(pidFile, { force: true });
    return;
  }
  for (const { signal, waitMs } of steps) {
    logger.warn({ pid, signal }, 'stopping the Postgres server that an earlier process left running');
    send(pid, signal);
    if (await ended(pid, clusterPath, waitMs)) return;
  }
  throw new StartupError(
    `A Postgres server left by an earlier process (pid ${pid}) can't be stopped: kill it.`,
    { pid },
  );
}

async function ended(pid: number, clusterPath: string, waitMs: number): Promise<boolean> {
  const deadline = Date.now() + waitMs;
  for (;;) {
    if (!isServerOf((await commandLine(pid)) ?? '', clusterPath)) return true;
    if (Date.now() > deadline) return false;
    await delay(20);
  }
}

/** The server is always started with `-D` and the full path, so a pid that was given out again shows as another. */
function isServerOf(command: string, clusterPath: string): boolean {
  return command.includes('postgres') && ` ${command} `.includes(` -D ${clusterPath} `);
}

/** @returns an empty text for a process that is gone or a zombie, undefined when the system can't tell */
async function commandLine(pid: number): Promise<string | undefined> {
  if (process.platform === 'win32') return undefined;
  if (process.platform === 'linux') {
    const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    return text.replaceAll('\0', ' ').trim();
  }
  return run('ps', ['-o', 'command=', '-ww', '-p', String(pid)]).then(
    ({ stdout }) => stdout.trim(),
    () => '',
  );
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone in between.
  }
}
