import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { Redis } from 'ioredis';
import { describe, it } from 'vitest';
import { freePort } from '../../src/infrastructure/embedded/ports.ts';
import { eventually } from './waiting.ts';

/** A Redis of a test file's own, which can be made to fail. */
export interface RedisServer {
  readonly url: string;
  /** Of the process that runs now, or ran last. */
  readonly pid: number;
  /** Where it keeps its data, if it does. */
  readonly folder: string;
  /** Starts it again on the same port, with the data that it has kept. */
  start(): Promise<void>;
  /** Ends it as an operator would. */
  stop(): Promise<void>;
  /** Ends it as a power cut would. */
  kill(): Promise<void>;
  /** It keeps its connections and answers nothing until it is told to go on. */
  suspend(): void;
  resume(): void;
  /** One command, on a connection of its own. */
  call(command: string, ...args: string[]): Promise<unknown>;
  /** Ends it for good and removes its data. Idempotent. */
  dispose(): Promise<void>;
}

export interface RedisServerOptions {
  /** Whether data outlives the server: an append-only file, written through. Default: no persistence at all. */
  readonly appendOnly?: boolean;
  /** More settings of `redis.conf`, by name. */
  readonly settings?: Readonly<Record<string, string>>;
}

const START_MS = 10_000;
const binary = findOnPath('redis-server');

/** Whether tests with Redis are to run: where there is a `redis-server`, and in CI, where its absence is a failure. */
export const withRedis = binary !== null || Boolean(process.env['CI']);

/**
 * Tests that need a Redis: left out, visibly, where there is no `redis-server` on the PATH. In CI its absence is a failure.
 */
export function describeWithRedis(name: string, body: () => void): void {
  if (binary !== null) describe(name, body);
  else if (process.env['CI']) {
    describe(name, () => {
      it('finds redis-server on the PATH', () => {
        throw new Error('CI needs redis-server on the PATH');
      });
    });
  } else describe.skip(`${name} (no redis-server on the PATH)`, body);
}

/** Starts `redis-server` from the PATH on a free port of 127.0.0.1. */
export async function startRedisServer(options: RedisServerOptions = {}): Promise<RedisServer> {
  const { appendOnly = false, settings = {} } = options;
  const dir = await mkdtemp(path.join(tmpdir(), 'asyncly-redis-'));
  const port = await freePort();
  const all: Record<string, string> = {
    port: String(port),
    bind: '127.0.0.1',
    dir,
    save: '',
    appendonly: appendOnly ? 'yes' : 'no',
    appendfsync: 'always',
    ...settings,
  };
  const args = Object.entries(all).flatMap(([setting, value]) => [`--${setting}`, value]);
  const secret = settings['requirepass'];
  const url = `redis://${secret === undefined ? '' : `:${encodeURIComponent(secret)}@`}127.0.0.1:${port}`;
  let server: ChildProcess | null = null;
  let pid = 0;
  const killOnExit = (): void => void server?.kill('SIGKILL');
  process.on('exit', killOnExit);

  async function start(): Promise<void> {
    if (binary === null) throw new Error('There is no redis-server on the PATH');
    const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    server = child;
    pid = child.pid ?? 0;
    await untilReady(child);
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    const child = server;
    server = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    // One that is suspended hears nothing else.
    child.kill('SIGCONT');
    await ended;
  }

  await start();
  return {
    url,
    get pid() {
      return pid;
    },
    folder: dir,
    start,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    suspend: () => void server?.kill('SIGSTOP'),
    resume: () => void server?.kill('SIGCONT'),
    async call(command, ...given) {
      const client = new Redis(url, { lazyConnect: true });
      // The call rejects; without a listener the client would print it as well.
      client.on('error', () => undefined);
      try {
        await client.connect();
        return await client.call(command, ...given);
      } finally {
        client.disconnect();
      }
    },
    async dispose() {
      process.off('exit', killOnExit);
      await end('SIGKILL');
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** @throws with what the server printed, when it ends instead */
async function untilReady(child: ChildProcess): Promise<void> {
  const lines: string[] = [];
  let ready = false;
  if (child.stdout === null) throw new Error('redis-server has no output');
  // Read to the end: a server whose output nobody takes would stand still.
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (lines.length < 100) lines.push(line);
    ready ||= line.includes('Ready to accept connections');
  });
  child.on('error', (error) => lines.push(error.message));
  await eventually(() => {
    if (!ready && child.exitCode !== null) throw new Error(`redis-server ended:\n${lines.join('\n')}`);
    return ready;
  }, START_MS);
}

function findOnPath(name: string): string | null {
  for (const directory of (process.env['PATH'] ?? '').split(path.delimiter)) {
    const file = path.join(directory, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      continue;
    }
  }
  return null;
}
