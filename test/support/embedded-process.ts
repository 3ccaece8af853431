import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

const opened = z.object({ url: z.string(), owner: z.boolean() });

export interface EmbeddedProcess extends z.infer<typeof opened> {
  readonly pid: number;
  /** Sends the signal and waits until the process has ended. */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

/**
 * Opens the embedded Postgres in a process of its own (`embedded-main.ts`), which stops it on SIGTERM.
 * @param path where it looks for the system's programs, when not where we do
 */
export async function startEmbeddedProcess(
  dataDir: string,
  roles: readonly string[],
  path = process.env['PATH'],
): Promise<EmbeddedProcess> {
  const script = fileURLToPath(new URL('embedded-main.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', script, dataDir, ...roles], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PATH: path },
  });
  const line = await firstLine(child);
  return {
    ...opened.parse(JSON.parse(line)),
    pid: child.pid!,
    end: async (signal) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill(signal);
      await ended;
    },
  };
}

async function firstLine(child: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: child.stdout! })) return line;
  throw new Error('the process ended before it had opened the database');
}
