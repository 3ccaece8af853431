import { fork, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { usageOf } from './proc.ts';
import type { Usage } from './proc.ts';

/** A process of a subject, watched from outside. */
export interface Process {
  /** What it does, e.g. `api`. */
  readonly name: string;
  /** What it has used up to now. @throws when it has ended */
  usage(): Usage;
  /** SIGTERM, and SIGKILL when that is not enough. Idempotent. */
  stop(): Promise<void>;
}

/** Of the sources, or of what they were compiled to. */
const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** How much of what a process says is kept, in characters. */
const KEPT_OUTPUT = 10_000;
const UP_MS = 60_000;
const STOP_MS = 20_000;

export interface ProcessSettings {
  readonly name: string;
  /** Relative to the repository, e.g. `src/main.js`. */
  readonly file: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Asked again and again until it says yes. */
  readonly isUp?: () => Promise<boolean>;
}

/** Starts a compiled file as a process. @throws with its last output when it ends or is not up within a minute */
export async function startProcess({ name, file, environment, isUp }: ProcessSettings): Promise<Process> {
  const child = spawn(process.execPath, [...nodeOptions(), path.join(ROOT, file)], {
    env: bareEnvironment(environment),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (said: string) => (output = (output + said).slice(-KEPT_OUTPUT)));
  const ended = untilEnded(child);
  let stopping: Promise<void> | null = null;
  async function stop(): Promise<void> {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    await ended;
    clearTimeout(timer);
  }
  void ended.then(() => {
    if (stopping === null) process.stderr.write(`${name} (${file}) has ended by itself:\n${output}\n`);
  });
  const deadline = performance.now() + UP_MS;
  while (!(await (isUp?.() ?? Promise.resolve(true)).catch(() => false))) {
    if (hasEnded(child) || performance.now() > deadline) {
      await (stopping ??= stop());
      throw new Error(`${file} is not up:\n${output}`);
    }
    await delay(50);
  }
  return { name, usage: () => usageOf(child.pid!), stop: () => (stopping ??= stop()) };
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a compiled file to its end. @param file relative to the repository */
export async function runToEnd(
  file: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<Ended> {
  const child = spawn(process.execPath, [...nodeOptions(), path.join(ROOT, file), ...args], {
    env: bareEnvironment(environment),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), untilEnded(child)]);
  return { code: child.exitCode, stdout, stderr };
}

/** A process that messages are exchanged with: what loads the subject must not share its own processor time. */
export interface Client {
  send(message: object): void;
  /** Each message that comes. */
  onMessage(heard: (message: unknown) => void): void;
  onceMessage(heard: (message: unknown) => void): void;
  usage(): Usage;
  /** Rejects with its last output when it ends without having been stopped. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
}

/** Starts a compiled file that ends when it is disconnected. @param file relative to the repository */
export function startClient(file: string, options: readonly string[] = []): Client {
  const child = fork(path.join(ROOT, file), {
    execArgv: [...options],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let output = '';
  for (const stream of [child.stdout!, child.stderr!])
    stream.setEncoding('utf8').on('data', (said: string) => (output = (output + said).slice(-KEPT_OUTPUT)));
  const ended = untilEnded(child);
  let stopped = false;
  const failed = new Promise<never>((_, reject) => {
    void ended.then(() => {
      if (!stopped) reject(new Error(`${file} has ended by itself:\n${output}`));
    });
  });
  failed.catch(() => undefined);
  return {
    send: (message) => void child.send(message),
    onMessage: (heard) => void child.on('message', heard),
    onceMessage: (heard) => void child.once('message', heard),
    usage: () => usageOf(child.pid!),
    failed,
    async stop() {
      stopped = true;
      if (child.connected) child.disconnect();
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** Asks a client one thing and ends it. @throws what it has said when it ends without an answer */
export async function askClient(file: string, question: object): Promise<unknown> {
  const client = startClient(file);
  try {
    const answer = new Promise((resolve) => client.onceMessage(resolve));
    client.send(question);
    return await Promise.race([answer, client.failed]);
  } finally {
    await client.stop();
  }
}

/** Whether a GET is answered with 200. */
export const answers = (url: string) => (): Promise<boolean> => fetch(url).then(({ ok }) => ok);

/** `BENCH_NODE_OPTIONS=--cpu-prof npm run bench -- --only drain` has every process of a subject write a profile. */
export const nodeOptions = (): string[] =>
  process.env['BENCH_NODE_OPTIONS']?.split(' ').filter(Boolean) ?? [];

function bareEnvironment(environment: Readonly<Record<string, string>>): Record<string, string> {
  const { PATH = '', HOME = '' } = process.env;
  return { PATH, HOME, ...environment };
}

/** None is to outlive this process. */
function untilEnded(child: ChildProcess): Promise<void> {
  const killOnExit = (): void => void child.kill('SIGKILL');
  process.once('exit', killOnExit);
  return once(child, 'exit').then(() => void process.off('exit', killOnExit));
}

const hasEnded = ({ exitCode, signalCode }: ChildProcess): boolean =>
  exitCode !== null || signalCode !== null;
