import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { compiled } from './compiled.ts';

const CLI = compiled('cli/asyncly');

export interface CliExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliProcess {
  readonly ended: Promise<CliExit>;
  /** What it has said so far. */
  readonly said: { readonly stdout: string; readonly stderr: string };
  /** Closes the pipe that it writes its standard output to, as `head` does. */
  hangUp(): void;
  kill(signal: NodeJS.Signals): void;
}

export interface CliSettings {
  /** Where a `.env` file would be read and DATA_DIR is, unless set. */
  readonly cwd: string;
  /** Environment, on top of what a shell has. */
  readonly env?: Readonly<Record<string, string>>;
}

/** `asyncly …` as a process of its own. */
export function spawnCli(args: readonly string[], { cwd, env }: CliSettings): CliProcess {
  const { PATH, HOME, TMPDIR } = process.env;
  const child = spawn(process.execPath, [CLI, ...args], {
    cwd,
    env: {
      ...(PATH !== undefined && { PATH }),
      ...(HOME !== undefined && { HOME }),
      ...(TMPDIR !== undefined && { TMPDIR }),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => (said[name] += text));
  }
  const ended = once(child, 'close').then(([code, signal]): CliExit => {
    return { code: code as number | null, signal: signal as NodeJS.Signals | null, ...said };
  });
  return { ended, said, hangUp: () => child.stdout.destroy(), kill: (signal) => child.kill(signal) };
}

/** Runs `asyncly …` to its end. */
export function runCli(args: readonly string[], settings: CliSettings): Promise<CliExit> {
  return spawnCli(args, settings).ended;
}
