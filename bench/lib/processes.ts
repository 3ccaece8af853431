import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** A process of a subject, watched from outside. */
export interface Process {
  readonly pid: number;
  /** What it has used up to now. @throws when it has ended */
  usage(): Usage;
  /** SIGTERM, and SIGKILL when that is not enough. Idempotent. */
  stop(): Promise<void>;
}

export interface Usage {
  /** User and system time together. */
  readonly cpuSeconds: number;
  /** The most resident memory it ever had. */
  readonly peakMb: number;
  readonly residentMb: number;
}

/** Of the sources, or of what they were compiled to. */
const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** How much of what a process says is kept, in characters. */
const KEPT_OUTPUT = 10_000;
const UP_MS = 60_000;
const STOP_MS = 20_000;
/** Clock ticks a second in /proc, the same on every Linux. */
const TICKS = 100;

/**
 * Starts a compiled file as a process.
 * @param file relative to the repository, e.g. `src/main.js`
 * @param isUp asked again and again until it says yes
 * @throws with its last output when it ends or is not up within a minute
 */
export async function startProcess(
  file: string,
  environment: Readonly<Record<string, string>>,
  isUp: () => Promise<boolean> = () => Promise.resolve(true),
): Promise<Process> {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(process.execPath, [...nodeOptions(), path.join(ROOT, file)], {
    env: { PATH, HOME, NODE_ENV: 'test', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output = (output + text).slice(-KEPT_OUTPUT)));
  const killOnExit = (): void => void child.kill('SIGKILL');
  process.once('exit', killOnExit);
  const ended = once(child, 'exit').then(() => process.off('exit', killOnExit));
  let stopping: Promise<void> | null = null;
  async function stop(): Promise<void> {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    await ended;
    clearTimeout(timer);
  }
  const deadline = performance.now() + UP_MS;
  while (!(await isUp().catch(() => false))) {
    if (child.exitCode !== null || performance.now() > deadline) {
      await stop();
      throw new Error(`${file} is not up:\n${output}`);
    }
    await delay(50);
  }
  return { pid: child.pid!, usage: () => usageOf(child.pid!), stop: () => (stopping ??= stop()) };
}

/** Whether a GET is answered with 200. */
export const answers = (url: string) => (): Promise<boolean> => fetch(url).then(({ ok }) => ok);

/** `BENCH_NODE_OPTIONS=--cpu-prof npm run bench -- --only drain` has every subject write profiles. */
const nodeOptions = (): string[] => process.env['BENCH_NODE_OPTIONS']?.split(' ') ?? [];

/** From /proc, see proc(5). */
function usageOf(pid: number): Usage {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kilobytes = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0);
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS,
    peakMb: kilobytes('VmHWM') / 1024,
    residentMb: kilobytes('VmRSS') / 1024,
  };
}
