import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { sleep } from '../waiting.ts';
import { environmentWith } from '../config.ts';

export interface DemoService {
  readonly baseUrl: string;
  /** Stops it and removes its data. Idempotent. */
  stop(): Promise<void>;
}

/** How much of the service's output is kept to explain a failed start, in characters. */
const KEPT_OUTPUT = 4_000;
const STOP_WITHIN_MS = 15_000;

/**
 * Starts a service of the demo's own, with data that is thrown away afterwards, and waits until it is ready.
 * @throws Error with the service's last words when it ends, or the signal's reason when it takes too long
 */
export async function startDemoService(signal: AbortSignal): Promise<DemoService> {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'asyncly-demo-'));
  let child: ChildProcess | undefined;
  async function cleanUp(): Promise<void> {
    if (child) await end(child);
    await rm(dataDir, { recursive: true, force: true });
  }
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopped ??= cleanUp());
  try {
    const port = await freePort();
    let output = '';
    child = spawnService({ PORT: String(port), DATA_DIR: dataDir });
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => (output = (output + chunk.toString()).slice(-KEPT_OUTPUT)));
    }
    const ended = new AbortController();
    child.once('close', () => ended.abort(new Error(`The service did not start:\n${output.trim()}`)));
    const baseUrl = `http://127.0.0.1:${port}`;
    await untilReady(baseUrl, AbortSignal.any([signal, ended.signal]));
    return { baseUrl, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Waits until every part of a service is ready. @throws the signal's reason */
export async function untilReady(baseUrl: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    const status = await fetch(`${baseUrl}/readyz`, { signal }).then(
      (response) => response.status,
      () => 0,
    );
    if (status === 200) return;
    await sleep(100, signal);
    signal.throwIfAborted();
  }
}

/** Whether something at this address answers as the service does. */
export async function isAsyncly(baseUrl: string): Promise<boolean> {
  try {
    const response = await fetch(`${baseUrl}/healthz`, { signal: AbortSignal.timeout(2_000) });
    return response.ok && ((await response.json()) as { status?: unknown }).status === 'alive';
  } catch {
    return false;
  }
}

/** The service as this build or source tree has it, everything in one process and on its own Postgres. */
function spawnService(settings: { PORT: string; DATA_DIR: string }): ChildProcess {
  const extension = path.extname(import.meta.url);
  const main = fileURLToPath(new URL(`../main${extension}`, import.meta.url));
  const args = extension === '.ts' ? ['--import', 'tsx', main] : [main];
  const env = environmentWith({
    HOST: '127.0.0.1',
    ROLES: '',
    NODE_ENV: 'development',
    DATABASE_URL: '',
    LOG_LEVEL: 'warn',
    ...settings,
  });
  return spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS);
  await ended;
  clearTimeout(timer);
}
