import { kinds } from './queues/kinds.ts';
import type { KindName } from './queues/kinds.ts';

/** What the worker of a queue is told once; it works until it is disconnected. */
export interface Assignment {
  readonly kind: KindName;
  readonly url: string;
  readonly concurrency: number;
  /** Completions after which it reports without delay. */
  readonly reportAt: readonly number[];
}

const REPORT_EVERY_MS = 20;

process.once('message', (assignment: Assignment) => void work(assignment));

async function work({ kind, url, concurrency, reportAt }: Assignment): Promise<void> {
  const queue = await kinds[kind].open(url);
  const soon = new Set([1, ...reportAt]);
  let done = 0;
  let reported = 0;
  const report = (): void => {
    if (done === reported) return;
    reported = done;
    process.send!({ done, at: performance.timeOrigin + performance.now() });
  };
  const timer = setInterval(report, REPORT_EVERY_MS);
  process.once('disconnect', () => {
    clearInterval(timer);
    void queue.close();
  });
  await queue.work(concurrency, () => {
    done++;
    if (soon.has(done)) report();
  });
}
