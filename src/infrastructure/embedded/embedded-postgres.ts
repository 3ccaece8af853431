import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { z } from 'zod';

import { StartupError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { findBinaries } from './binaries.ts';
import { prepareCluster, readClusterRecord, writeClusterRecord } from './cluster.ts';
import { chooseLauncher } from './launcher.ts';
import type { Launcher, LaunchMode } from './launcher.ts';
import { stopOrphan } from './orphan.ts';
import { errorCode, prepareDirectory, storageError, writePrivateFile } from './private-files.ts';
import { lockAddress, lockFreed, tryLock } from './process-lock.ts';
import type { ProcessLock } from './process-lock.ts';
import { embeddedUrl, PostgresServer } from './server.ts';

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

interface Context extends EmbeddedPostgresOptions {
  readonly dataDir: string;
  readonly launcher: Launcher;
  readonly major: string;
  readonly ownerLock: string;
}

/** An owner's first start with initdb is inside this with room to spare. */
const attachTimeoutMs = 30_000;
const attachPollMs = 50;

const noticeShape = z.object({ url: z.string(), port: z.int(), pid: z.int(), serverPid: z.int() });

/**
 * Opens the Postgres of this DATA_DIR: the first process starts the server and owns it, later ones attach to it, and
 * when the owner ends, one of those attached starts the server again on the same port.
 * @throws StartupError when a role already runs on this DATA_DIR, or the server can't be had; the message says why
 */
export async function openEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const [dataDir, binaries] = await Promise.all([prepareDirectory(options.dataDir), findBinaries()]);
  const record = await readClusterRecord(dataDir);
  const launcher = await chooseLauncher({
    dataDir,
    binaries,
    recordedHome: record?.home,
    mode: options.launchMode,
    systemFolder: options.systemFolder ?? '/var/lib/asyncly',
  });
  // Locks go by where the data is, so that two copies of a DATA_DIR that share it exclude each other.
  const ownerLock = lockAddress(launcher.home, 'owner');
  const context: Context = { ...options, dataDir, launcher, major: binaries.major, ownerLock };
  const roleLocks = await lockRoles(context);
  try {
    const session = new Session(context, roleLocks);
    await session.open();
    return session;
  } catch (error) {
    await releaseAll(roleLocks);
    throw error;
  }
}

async function lockRoles({ roles, dataDir, launcher }: Context): Promise<ProcessLock[]> {
  const locks: ProcessLock[] = [];
  for (const role of new Set(roles)) {
    const attempt = await tryLock(lockAddress(launcher.home, `role-${role}`));
    if (attempt.lock) {
      locks.push(attempt.lock);
      continue;
    }
    await releaseAll(locks);
    const where = attempt.heldBy === undefined ? 'another process' : `process ${attempt.heldBy}`;
    throw new StartupError(
      `Role ${role} already runs in ${where} on DATA_DIR ${dataDir}. Stop that process, start this one with other ROLES, or set another DATA_DIR.`,
      { role, pid: attempt.heldBy, dataDir },
    );
  }
  return locks;
}

async function releaseAll(locks: readonly ProcessLock[]): Promise<void> {
  for (const lock of [...locks].reverse()) await lock.release();
}

class Session implements EmbeddedPostgres {
  readonly #context: Context;
  readonly #roleLocks: readonly ProcessLock[];
  readonly #stopping = new AbortController();
  #url = '';
  #owned: { readonly lock: ProcessLock; readonly server: PostgresServer } | undefined;
  #watching: Promise<void> = Promise.resolve();
  #stopped: Promise<void> | undefined;

  constructor(context: Context, roleLocks: readonly ProcessLock[]) {
    this.#context = context;
    this.#roleLocks = roleLocks;
  }

  get url(): string {
    return this.#url;
  }

  get owner(): boolean {
    return this.#owned !== undefined;
  }

  async open(): Promise<void> {
    const { ownerLock, dataDir } = this.#context;
    const deadline = Date.now() + attachTimeoutMs;
    for (;;) {
      const attempt = await tryLock(ownerLock);
      if (attempt.lock) return this.#own(attempt.lock);
      const url = await answeringServer(dataDir, attempt.heldBy);
      if (url !== undefined) {
        this.#url = url;
        this.#watching = this.#watchOwner();
        return;
      }
      if (Date.now() > deadline) {
        const holder = attempt.heldBy === undefined ? 'Another process' : `Process ${attempt.heldBy}`;
        throw new StartupError(
          `${holder} holds DATA_DIR ${dataDir}, but its Postgres server did not answer within ${attachTimeoutMs / 1000} s. Stop that process, or set another DATA_DIR.`,
          { pid: attempt.heldBy, dataDir },
        );
      }
      await delay(attachPollMs);
    }
  }

  async stop(): Promise<void> {
    this.#stopped ??= (async () => {
      this.#stopping.abort();
      // A takeover under way ends by itself: its server sees the same stop.
      await this.#owned?.server.stop();
      await this.#watching;
      const owned = this.#owned;
      if (owned) {
        await owned.server.stop();
        await rm(noticePath(this.#context.dataDir), { force: true });
        await owned.lock.release();
        this.#owned = undefined;
      }
      await releaseAll(this.#roleLocks);
    })();
    return this.#stopped;
  }

  /** Starts the server as the holder of the owner lock. */
  async #own(lock: ProcessLock): Promise<void> {
    let server: PostgresServer | undefined;
    try {
      const { path, record } = await this.#prepare();
      server = this.#createServer(path, record.password);
      await stopOrphan(path, this.#context.logger);
      const port = await server.start(record.port);
      if (port !== record.port) await writeClusterRecord(this.#context.dataDir, { ...record, port });
      this.#url = embeddedUrl(port, record.password);
      this.#owned = { lock, server };
    } catch (error) {
      await server?.stop();
      await lock.release();
      throw error;
    }
  }

  async #prepare(): Promise<Awaited<ReturnType<typeof prepareCluster>>> {
    const { launcher, dataDir, major, logger } = this.#context;
    await launcher.prepare();
    return prepareCluster(dataDir, launcher, major, logger);
  }

  #createServer(path: string, password: string): PostgresServer {
    const { launcher, logger, dataDir, settings = {} } = this.#context;
    return new PostgresServer({
      launcher,
      path,
      password,
      settings,
      logger,
      onReady: ({ port, pid }) => {
        const notice = { url: embeddedUrl(port, password), port, pid: process.pid, serverPid: pid };
        return writePrivateFile(noticePath(dataDir), `${JSON.stringify(notice, null, 2)}\n`);
      },
    });
  }

  /** Takes the server over when its owner ends, so that the roles left running keep their database. */
  async #watchOwner(): Promise<void> {
    const { ownerLock, logger } = this.#context;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await lockFreed(ownerLock, signal);
      // Whoever starts anew may as well become the owner; a short wait also keeps this from spinning.
      await delay(50 + Math.random() * 200, undefined, { signal }).catch(() => undefined);
      if (isAborted(signal)) return;
      const { lock } = await tryLock(ownerLock);
      if (!lock) continue;
      logger.warn('the owner of the embedded Postgres has ended, starting the server here');
      try {
        const { path, record } = await this.#prepare();
        // From here on `stop` ends the attempts below; before, nothing would.
        signal.throwIfAborted();
        const server = this.#createServer(path, record.password);
        this.#owned = { lock, server };
        await server.restart(Number(new URL(this.#url).port));
        return;
      } catch (error) {
        if (!isAborted(signal))
          logger.error({ err: error }, 'the embedded Postgres can not be taken over, trying again');
        this.#owned = undefined;
        await lock.release();
      }
    }
  }
}

/** The compiler takes `aborted` for constant between two awaits. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

function noticePath(dataDir: string): string {
  return join(dataDir, 'postgres.json');
}

/** The URL in `postgres.json`, if the present owner wrote it and the server there answers. */
async function answeringServer(dataDir: string, ownerPid: number | undefined): Promise<string | undefined> {
  const path = noticePath(dataDir);
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw storageError(error, path);
  });
  if (text === undefined) return undefined;
  const { url, pid } = noticeShape.parse(JSON.parse(text));
  if (ownerPid !== undefined && pid !== ownerPid) return undefined;
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return url;
  } catch {
    return undefined;
  } finally {
    await client.end().catch(() => undefined);
  }
}
