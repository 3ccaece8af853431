import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { errorCode } from './private-files.ts';

export interface ProcessLock {
  /** Lets the lock go. Idempotent. */
  release(): Promise<void>;
}

export type LockAttempt =
  | { readonly lock: ProcessLock }
  /** `heldBy` is the holder's pid, or undefined when it doesn't answer. */
  | { readonly lock?: never; readonly heldBy: number | undefined };

type Reply = { readonly state: 'gone' | 'silent' } | { readonly state: 'answered'; readonly pid: number };

/** How long a live but busy holder may take to name itself. */
const replyTimeoutMs = 1_000;
const maxTries = 20;
/** macOS allows 104 bytes. The folder for temporary files comes second because systems tidy it up. */
const maxSocketPath = 100;

/**
 * Where the lock `name` of the folder `home` is found. An abstract socket (Linux) or a named pipe (Windows) ends with
 * its process, however that dies. Elsewhere it is a socket file, and one that nobody answers on is stale.
 */
export function lockAddress(home: string, name: string, platform: string = process.platform): string {
  const unique = `asyncly-${createHash('sha256').update(`${home}\n${name}`).digest('hex').slice(0, 24)}`;
  if (platform === 'linux') return `\0${unique}`;
  if (platform === 'win32') return `\\\\.\\pipe\\${unique}`;
  const file = join(home, `${name}.lock`);
  return Buffer.byteLength(file) <= maxSocketPath ? file : join(tmpdir(), `${unique}.lock`);
}

/**
 * Tries to take a lock that at most one process of this machine holds, and that is free again the moment its holder is
 * gone. Doesn't wait for a live holder.
 */
export async function tryLock(address: string): Promise<LockAttempt> {
  for (let tries = 0; tries < maxTries; tries++) {
    const lock = await listen(address);
    if (lock !== undefined && (!isFile(address) || (await isOurs(address)))) return { lock };
    await lock?.release();
    const reply = await ask(address);
    if (reply.state === 'answered') return { heldBy: reply.pid };
    if (reply.state === 'silent') return { heldBy: undefined };
    if (isFile(address)) await rm(address, { force: true });
    await delay(10 + Math.random() * 40);
  }
  return { heldBy: undefined };
}

/** Resolves when the process that holds the lock lets it go or dies (at once when nobody holds it), or on abort. */
export async function lockFreed(address: string, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const socket = connect(address).unref();
    const end = (): void => {
      signal.removeEventListener('abort', end);
      socket.destroy();
      resolve();
    };
    signal.addEventListener('abort', end);
    socket.on('error', end).on('close', end).resume();
  });
}

/** Lets locks go, the last taken first. */
export async function releaseLocks(locks: readonly ProcessLock[]): Promise<void> {
  for (const lock of [...locks].reverse()) await lock.release();
}

function isFile(address: string): boolean {
  return address.startsWith('/');
}

/** Two processes can find the same stale file and each replace it: the one whose file is gone steps back. */
async function isOurs(address: string): Promise<boolean> {
  await delay(50);
  const reply = await ask(address);
  return reply.state === 'answered' && reply.pid === process.pid;
}

async function listen(address: string): Promise<ProcessLock | undefined> {
  const visitors = new Set<Socket>();
  const server = createServer((socket) => {
    visitors.add(socket);
    socket
      .unref()
      .on('error', () => socket.destroy())
      .on('close', () => visitors.delete(socket))
      .resume()
      .write(`${process.pid}\n`);
  });
  server.maxConnections = 100;
  const taken = await new Promise<boolean>((resolve, reject) => {
    server.once('error', (error) => {
      if (errorCode(error) === 'EADDRINUSE') resolve(false);
      else reject(error);
    });
    server.listen(address, () => resolve(true));
  });
  if (!taken) return undefined;
  server.unref();
  return { release: () => close(server, visitors) };
}

async function close(server: Server, visitors: ReadonlySet<Socket>): Promise<void> {
  if (!server.listening) return;
  const closed = new Promise((resolve) => server.close(resolve));
  for (const socket of visitors) socket.destroy();
  await closed;
}

async function ask(address: string): Promise<Reply> {
  return new Promise<Reply>((resolve) => {
    const socket = connect(address);
    const timer = setTimeout(() => end({ state: 'silent' }), replyTimeoutMs);
    const end = (reply: Reply): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(reply);
    };
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (!text.endsWith('\n')) return;
      const pid = Number(text.trim());
      end(Number.isInteger(pid) ? { state: 'answered', pid } : { state: 'silent' });
    });
    socket.on('error', () => end({ state: 'gone' })).on('close', () => end({ state: 'gone' }));
  });
}
