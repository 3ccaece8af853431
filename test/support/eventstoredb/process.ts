import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { AppendFault, Cut } from './faults.ts';

/** What to do wrong. */
export interface Order {
  /** Faults of the next appends. */
  readonly appends?: readonly AppendFault[];
  /** Ends the running subscriptions. */
  readonly cut?: Cut;
}

/** The double as a process of its own, for tests whose services are processes too. */
export interface EventStoreDoubleProcess {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  order(order: Order): void;
  /** Ends it and returns its exit code. Idempotent. */
  stop(): Promise<number | null>;
  /** Ends it as a power cut would. */
  kill(): Promise<void>;
}

export interface EventStoreDoubleProcessOptions {
  /** Default: any free one. */
  readonly port?: number;
  /** Where its log is kept; without one it ends with the process. */
  readonly file?: string;
}

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));

/** Starts `main.ts` on a port of 127.0.0.1. @throws when it ends instead */
export async function spawnEventStoreDouble({
  port: wanted = 0,
  file,
}: EventStoreDoubleProcessOptions = {}): Promise<EventStoreDoubleProcess> {
  const args = [String(wanted), ...(file === undefined ? [] : [file])];
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), MAIN, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  // An order that comes too late for it.
  child.stdin.on('error', () => undefined);
  const killOnExit = (): void => void child.kill('SIGKILL');
  process.on('exit', killOnExit);
  const ended = once(child, 'exit').then(([code]) => {
    process.off('exit', killOnExit);
    return code as number | null;
  });
  const failed = ended.then((code): never => {
    throw new Error(`The event store's double ended with ${String(code)}`);
  });
  failed.catch(() => undefined);
  const [line] = (await Promise.race([once(createInterface({ input: child.stdout }), 'line'), failed])) as [
    string,
  ];
  const { url, port } = JSON.parse(line) as { url: string; port: number };
  return {
    url,
    port,
    pid: child.pid!,
    order: (order) => void child.stdin.write(`${JSON.stringify(order)}\n`),
    stop: () => {
      child.kill('SIGTERM');
      return ended;
    },
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
