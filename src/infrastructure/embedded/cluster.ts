import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chown, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

import { errorMessage, StartupError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { readOwnFile } from '../../own-file.ts';
import type { Launcher } from './launcher.ts';
import { OutputTail } from './output-tail.ts';
import { errorCode, storageError, writePrivateFile } from './private-files.ts';

const recordShape = z.object({
  /** Of the superuser `asyncly`. */
  password: z.string().min(1),
  /** The port of the last start, taken again so that other processes find the server where it was. */
  port: z.int().min(1).max(65_535).optional(),
  /** The folder that holds the data when it isn't DATA_DIR. */
  home: z.string().optional(),
});

/** What DATA_DIR remembers of its database from start to start (`cluster.json`). */
export type ClusterRecord = z.infer<typeof recordShape>;

export interface ClusterOptions {
  /** Major version of our Postgres. */
  readonly major: string;
  /** Whether a new data directory must survive a power cut. */
  readonly durable: boolean;
  readonly logger: Logger;
}

export const superuser = 'asyncly';

function recordPath(dataDir: string): string {
  return join(dataDir, 'cluster.json');
}

/** @returns undefined before the first start. @throws StartupError when the file is unreadable or damaged */
export function readClusterRecord(dataDir: string): ClusterRecord | undefined {
  const path = recordPath(dataDir);
  let text: string;
  try {
    text = readOwnFile(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw storageError(error, path);
  }
  try {
    return recordShape.parse(JSON.parse(text));
  } catch (error) {
    throw new StartupError(
      `${path} is damaged (${errorMessage(error)}). It holds the database's password: restore it from a backup.`,
      { path },
      { cause: error },
    );
  }
}

export async function writeClusterRecord(dataDir: string, record: ClusterRecord): Promise<void> {
  await writePrivateFile(recordPath(dataDir), `${JSON.stringify(record, null, 2)}\n`);
}

/**
 * Makes the data directory at the first start, and checks it at every later one. Call it as the owner only.
 * @returns its path, and the record that goes with it
 * @throws StartupError when the directory is of another Postgres, isn't one, or can't be made
 */
export async function prepareCluster(
  dataDir: string,
  launcher: Launcher,
  { major, durable, logger }: ClusterOptions,
): Promise<{ path: string; record: ClusterRecord }> {
  const path = join(launcher.home, 'postgres');
  const found = readClusterRecord(dataDir);
  if (await checkCluster(path, major)) {
    if (found !== undefined) return { path, record: found };
    throw new StartupError(
      `${recordPath(dataDir)} is missing. It holds the password of the database in ${path}: restore it from a backup.`,
      { path: recordPath(dataDir) },
    );
  }
  const record = found ?? {
    password: randomBytes(24).toString('base64url'),
    ...(launcher.home === dataDir ? {} : { home: launcher.home }),
  };
  // The password is kept before the database that wants it exists.
  if (found === undefined) await writeClusterRecord(dataDir, record);
  await removeDrafts(launcher.home);
  await create(path, launcher, record.password, durable, logger);
  return { path, record };
}

/** Whether there is a data directory of the right version. A missing or empty folder counts as none. */
async function checkCluster(path: string, major: string): Promise<boolean> {
  const files = await readdir(path).catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return [];
    throw storageError(error, path);
  });
  if (files.length === 0) return false;
  const version = await readFile(join(path, 'PG_VERSION'), 'utf8').catch((error: unknown) => {
    if (errorCode(error) !== 'ENOENT') throw storageError(error, path);
    throw new StartupError(`DATA_DIR: ${path} is not a Postgres data directory. Move it away.`, { path });
  });
  if (version.trim() === major) return true;
  throw new StartupError(
    `DATA_DIR: ${path} was made by Postgres ${version.trim()}, and this version of Asyncly brings Postgres ${major}. Go on with the Asyncly that made it, or move the data with pg_dump.`,
    { path, found: version.trim(), expected: major },
  );
}

const draftPrefix = 'postgres-new-';

/** What a start that was killed in the middle of initdb has left. */
async function removeDrafts(home: string): Promise<void> {
  for (const name of await readdir(home)) {
    if (name.startsWith(draftPrefix)) await rm(join(home, name), { recursive: true, force: true });
  }
}

/** Runs initdb beside the final place and then renames, so that a crash leaves no half data directory. */
async function create(
  path: string,
  launcher: Launcher,
  password: string,
  durable: boolean,
  logger: Logger,
): Promise<void> {
  const draft = join(launcher.home, `${draftPrefix}${randomUUID()}`);
  const passwordFile = `${draft}.password`;
  try {
    const file = await open(passwordFile, 'wx', 0o600);
    await file.writeFile(password).finally(() => file.close());
    if (launcher.account) await chown(passwordFile, launcher.account.uid, launcher.account.gid);
    await runInitdb(launcher, draft, passwordFile, durable, logger);
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { recursive: true, force: true }).catch(() => undefined);
    throw errorCode(error) === undefined ? error : storageError(error, path);
  } finally {
    await rm(passwordFile, { force: true });
  }
}

async function runInitdb(
  launcher: Launcher,
  draft: string,
  passwordFile: string,
  durable: boolean,
  logger: Logger,
): Promise<void> {
  logger.info({ home: launcher.home, mode: launcher.mode }, 'creating the embedded Postgres database');
  const process = launcher.run(
    'initdb',
    [
      ...['-D', draft, '--encoding=UTF8', '--locale=C', '--auth=scram-sha-256', '--no-instructions'],
      ...(durable ? [] : ['--no-sync']),
      ...[`--username=${superuser}`, `--pwfile=${passwordFile}`],
    ],
    'KILL',
  );
  const output = new OutputTail(process, (line) => logger.debug({ part: 'initdb' }, line));
  const [code] = (await once(process, 'close')) as [number | null];
  if (code !== 0) throw output.failure(`The embedded Postgres database can't be made in ${launcher.home}`);
}
