import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';

const INSIDE = 'ASYNCLY_CHAOS_INSIDE';
/** As root, and as a user who may have namespaces of his own. */
const WAYS = [['--mount'], ['--user', '--map-root-user', '--mount']] as const;

/**
 * Runs this same command in a mount namespace of its own: what it mounts nobody else sees, and it is gone with it.
 * @returns the exit code, or null when this process is the one inside
 * @throws when the system allows no such thing
 */
export async function inNamespaceOfItsOwn(): Promise<number | null> {
  if (process.env[INSIDE] !== undefined) return null;
  const way = WAYS.find(isAllowed);
  if (way === undefined) {
    throw new Error(
      'A disk of its own needs root, or a system that allows user namespaces (unshare --user --mount)',
    );
  }
  const command = [...way, process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child = spawn('unshare', command, {
    env: { ...process.env, [INSIDE]: '1' },
    // Closed with this process, however it ends: the one inside then cleans up and ends as well.
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? 1;
}

function isAllowed(way: readonly string[]): boolean {
  try {
    execFileSync('unshare', [...way, 'sh', '-c', 'mount -t tmpfs none /mnt && umount /mnt'], {
      stdio: 'ignore',
    });
    return true;
  } catch {
    return false;
  }
}
