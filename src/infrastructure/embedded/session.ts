import { setTimeout as delay } from 'node:timers/promises';

import { StartupError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { prepareCluster, writeClusterRecord } from './cluster.ts';
import type { Launcher } from './launcher.ts';
import { answeringServer, removeNotice, writeNotice } from './notice.ts';
import { stopOrphan } from './orphan.ts';
import { isAborted } from '../../waiting.ts';
import { lockFreed, releaseLocks, tryLock } from './process-lock.ts';
import type { ProcessLock } from './process-lock.ts';
import { embeddedUrl } from './readiness.ts';
import { PostgresServer } from './server.ts';

export interface SessionContext {
  /** Real path. */
  readonly dataDir: string;
  readonly launcher: Launcher;
  /** Version of our Postgres. */
  readonly major: string;
  /** Address of the lock that makes its holder the owner. */
  readonly ownerLock: string;
  /** Locks of the roles of this process, let go at the end. */
  readonly roleLocks: readonly ProcessLock[];
  readonly settings: Readonly<Record<string, string>>;
  readonly logger: Logger;
}

/** An owner's first start with initdb is inside this with room to spare. */
const attachTimeoutMs = 30_000;
const attachPollMs = 50;

/** One process's hold on a DATA_DIR: attached to another's server, or the owner of its own. */
export class Session {
  readonly #context: SessionContext;
  readonly #stopping = new AbortController();
  #url = '';
  #owned: { readonly lock: ProcessLock; readonly server: PostgresServer } | undefined;
  #watching: Promise<void> = Promise.resolve();
  #stopped: Promise<void> | undefined;

  constructor(context: SessionContext) {
    this.#context = context;
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
        await removeNotice(this.#context.dataDir);
        await owned.lock.release();
        this.#owned = undefined;
      }
      await releaseLocks(this.#context.roleLocks);
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
    const { launcher, dataDir, major, settings, logger } = this.#context;
    await launcher.prepare();
    return prepareCluster(dataDir, launcher, { major, durable: settings['fsync'] !== 'off', logger });
  }

  #createServer(path: string, password: string): PostgresServer {
    const { launcher, logger, dataDir, settings } = this.#context;
    return new PostgresServer({
      launcher,
      path,
      password,
      settings,
      logger,
      onReady: ({ port, pid }) => {
        const url = embeddedUrl(port, password);
        return writeNotice(dataDir, { url, port, pid: process.pid, serverPid: pid });
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
