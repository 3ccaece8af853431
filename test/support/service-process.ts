import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { z } from 'zod';
import { compiled } from './compiled.ts';
import type { ServiceSettings } from './service.ts';
import { eventually } from './waiting.ts';

const MAIN = compiled('main');
/** How much of what a process says is kept, in characters, unless a test wants it all. */
const KEPT_OUTPUT = 20_000;

/** None is to outlive a test process that ends before its time. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

const upLine = z.object({ roles: z.array(z.string()), url: z.string().optional() });

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Its last words, standard output and standard error together. */
  readonly output: string;
}

/** The service as a process of its own, as `npm start` runs it. */
export interface ServiceProcess {
  readonly pid: number;
  readonly hasEnded: boolean;
  /** Resolves when it has ended, however that came. */
  readonly ended: Promise<Exit>;
  /** Resolves when it is up, with the address of its api (none without that role). @throws with its last words when it ends instead */
  up(deadlineMs?: number): Promise<string | undefined>;
  /** Whether it has said this lately, on standard output or standard error. */
  hasSaid(text: string): boolean;
  /** Sends the signal and waits for the end. Idempotent. */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<Exit>;
}

export interface SpawnOptions {
  /** How many characters of what it says are kept, the last ones. */
  readonly kept?: number;
  /** Modules to load before it, by URL. */
  readonly imports?: readonly string[];
  /** Told all that it says. */
  readonly onOutput?: (text: string) => void;
}

/**
 * Spawns the service in an empty environment but for what a shell has, plus these settings.
 * @param cwd where a `.env` file would be read
 */
export function spawnService(
  settings: ServiceSettings,
  cwd: string,
  { kept = KEPT_OUTPUT, imports = [], onOutput }: SpawnOptions = {},
): ServiceProcess {
  const { PATH, HOME, TMPDIR } = process.env;
  const loaded = imports.flatMap((module) => ['--import', module]);
  const child = spawn(process.execPath, [...loaded, '--enable-source-maps', MAIN], {
    cwd,
    env: {
      ...(PATH !== undefined && { PATH }),
      ...(HOME !== undefined && { HOME }),
      ...(TMPDIR !== undefined && { TMPDIR }),
      HOST: '127.0.0.1',
      ...settings,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  child.once('close', () => running.delete(child));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-kept);
      onOutput?.(text);
    });
  }
  const ended = once(child, 'close').then(([code, signal]): Exit => {
    return { code: code as number | null, signal: signal as NodeJS.Signals | null, output };
  });
  const hasEnded = (): boolean => child.exitCode !== null || child.signalCode !== null;

  return {
    pid: child.pid!,
    get hasEnded() {
      return hasEnded();
    },
    ended,
    hasSaid: (text) => output.includes(text),
    up: (deadlineMs = 60_000) =>
      eventually(() => {
        if (hasEnded()) return { failed: output };
        const line = output.split('\n').find((text) => text.includes(' is up"'));
        if (line === undefined) throw new Error(`The service is not up yet. It said:\n${output}`);
        return upLine.parse(JSON.parse(line));
      }, deadlineMs).then((line) => {
        if ('failed' in line) throw new Error(`The service did not start:\n${line.failed}`);
        return line.url;
      }),
    end: (signal) => {
      if (!hasEnded()) child.kill(signal);
      return ended;
    },
  };
}
