import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { WorkItem } from '../../../src/workers/work-queue.ts';
import type { WorkQueueSetup } from './work-queue-suite.ts';

const HANGING_WORKER = fileURLToPath(new URL('../../support/hanging-worker.ts', import.meta.url));

/** Processes that take one item each and never come to an end with it. @param url of the queue's Postgres or Redis */
export function hangingWorkers(url: string, lockMs: number) {
  const children: ChildProcess[] = [];
  const start: WorkQueueSetup['startHangingWorker'] = () => {
    const child = spawn(process.execPath, ['--import', 'tsx', HANGING_WORKER, url, String(lockMs)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    const taken = (async () => {
      for await (const line of createInterface({ input: child.stdout })) return JSON.parse(line) as WorkItem;
      throw new Error('the worker ended before it took anything');
    })();
    return {
      taken,
      async kill() {
        const ended = once(child, 'exit');
        child.kill('SIGKILL');
        await ended;
      },
    };
  };
  return {
    start,
    killAll: (): void => {
      for (const child of children) child.kill('SIGKILL');
    },
  };
}
