import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

import { errorMessage, StartupError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import type { Launcher, ServerProcess } from './launcher.ts';
import { stopOrphan } from './orphan.ts';
import { OutputTail } from './output-tail.ts';
import { freePort, isFree } from './ports.ts';
import { becomeReady, embeddedUrl } from './readiness.ts';

export interface ServerOptions {
  readonly launcher: Launcher;
  /** The data directory. */
  readonly path: string;
  readonly password: string;
  readonly settings: Readonly<Record<string, string>>;
  readonly logger: Logger;
  /** Called each time the server is ready, before anyone is told. */
  readonly onReady: (server: { readonly port: number; readonly pid: number }) => Promise<void>;
}

const fastShutdownMs = 20_000;
const immediateShutdownMs = 5_000;
const maxStartTries = 40;
const restartDelay = { firstMs: 100, maxMs: 15_000 };
/** A server that has run this long starts with a fresh backoff when it dies. */
const steadyMs = 60_000;

const baseSettings: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '200',
  timezone: 'UTC',
  log_timezone: 'UTC',
  // Statements and the values in error details can hold what no log line may.
  log_error_verbosity: 'terse',
  log_min_error_statement: 'panic',
};

/** One Postgres server of ours: started, started again when it dies, stopped. */
export class PostgresServer {
  readonly #options: ServerOptions;
  readonly #stopping = new AbortController();
  #running: ServerProcess | undefined;
  #recovery: Promise<void> = Promise.resolve();
  /** How often in a row it died soon after it was ready. */
  #quickDeaths = 0;
  #stopped: Promise<void> | undefined;

  constructor(options: ServerOptions) {
    this.#options = options;
  }

  /**
   * Starts the server and waits until it answers and has its database.
   * @param wanted port to take when it is free; otherwise any
   * @returns the port @throws StartupError with the server's last words
   */
  async start(wanted: number | undefined): Promise<number> {
    let port = wanted !== undefined && (await isFree(wanted)) ? wanted : await freePort();
    for (let tries = 1; ; tries++) {
      try {
        await this.#launch(port);
        return port;
      } catch (error) {
        const words = error instanceof StartupError ? String(error.data['output']) : '';
        if (tries === maxStartTries) throw error;
        if (/Address already in use/.test(words)) port = await freePort();
        // The children of a killed server take a moment to notice.
        else if (!/pre-existing shared memory block/.test(words)) throw error;
        await delay(50 + Math.random() * 200);
      }
    }
  }

  /** Starts on exactly this port, however long it takes: the address is known to others. Ends early on `stop`. */
  async restart(port: number): Promise<void> {
    const { logger, path } = this.#options;
    let waitMs = restartDelay.firstMs;
    for (let tries = 1; !this.#stopping.signal.aborted; tries++) {
      try {
        await stopOrphan(path, logger);
        await this.#launch(port);
        logger.info({ port, tries }, 'embedded Postgres runs again');
        return;
      } catch (error) {
        const level = waitMs < 1_000 ? 'info' : waitMs < restartDelay.maxMs ? 'warn' : 'error';
        logger[level](
          { tries, waitMs, reason: errorMessage(error) },
          'embedded Postgres does not start, trying again',
        );
        await this.#pause(waitMs);
        waitMs = Math.min(waitMs * 2, restartDelay.maxMs);
      }
    }
  }

  /** Closes all connections and shuts the server down. Idempotent. */
  async stop(): Promise<void> {
    this.#stopped ??= (async () => {
      this.#stopping.abort();
      await this.#recovery;
      if (this.#running) await shutDown(this.#running);
    })();
    return this.#stopped;
  }

  async #launch(port: number): Promise<void> {
    const { launcher, path, settings, logger, password, onReady } = this.#options;
    const all = Object.entries({ ...baseSettings, ...settings, port: String(port) });
    const server = launcher.run(
      'postgres',
      ['-D', path, ...all.flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      'INT',
    );
    const output = new OutputTail(server, (line) => logger.debug({ part: 'postgres' }, line));
    this.#running = server;
    const givingUp = new AbortController();
    const gone = once(server, 'close').finally(() => {
      givingUp.abort();
      if (this.#running === server) this.#running = undefined;
    });
    const failed = gone.then(() => {
      throw output.failure('The embedded Postgres server did not start');
    });
    failed.catch(() => undefined);
    try {
      const signal = AbortSignal.any([givingUp.signal, this.#stopping.signal]);
      await Promise.race([failed, becomeReady(embeddedUrl(port, password, 'postgres'), output, signal)]);
      await onReady({ port, pid: server.pid ?? 0 });
    } catch (error) {
      if (this.#running === server) await shutDown(server);
      throw error;
    }
    const startedAt = Date.now();
    void gone.then(
      () => this.#died(port, Date.now() - startedAt, output),
      () => undefined,
    );
  }

  /** Waits about that long, or until `stop`. */
  async #pause(ms: number): Promise<void> {
    const { signal } = this.#stopping;
    await delay(ms * (0.5 + Math.random()), undefined, { signal }).catch(() => undefined);
  }

  #died(port: number, afterMs: number, output: OutputTail): void {
    if (this.#stopping.signal.aborted) return;
    this.#options.logger.error(
      { port, afterMs, output: output.text },
      'embedded Postgres died, starting it again',
    );
    this.#quickDeaths = afterMs < steadyMs ? this.#quickDeaths + 1 : 1;
    const waitMs = Math.min(restartDelay.firstMs * 2 ** (this.#quickDeaths - 1), restartDelay.maxMs);
    this.#recovery = this.#pause(waitMs).then(() => this.restart(port));
  }
}

async function shutDown(server: ServerProcess): Promise<void> {
  const closed = once(server, 'close');
  const exits = (): boolean => server.exitCode !== null || server.signalCode !== null;
  for (const { signal, waitMs } of [
    { signal: 'SIGINT', waitMs: fastShutdownMs },
    { signal: 'SIGQUIT', waitMs: immediateShutdownMs },
    { signal: 'SIGKILL', waitMs: immediateShutdownMs },
  ] as const) {
    if (exits()) break;
    server.kill(signal);
    const timer = new AbortController();
    await Promise.race([closed, delay(waitMs, undefined, { signal: timer.signal })]);
    timer.abort();
  }
}
