import { z } from 'zod';
import { rateOf } from '../lib/jobs.ts';
import type { Progress } from '../lib/jobs.ts';
import type { Environment } from '../lib/environment.ts';
import { nodeOptions, startClient } from '../lib/processes.ts';
import type { Client } from '../lib/processes.ts';
import type { Figures, Measured, Scale } from '../lib/scenario.ts';
import type { Assignment } from './queue-worker.ts';
import { kinds } from './queues/kinds.ts';
import type { KindName } from './queues/kinds.ts';
import type { PeerQueue } from './queues/peer-queue.ts';

const progress = z.object({ done: z.number(), at: z.number() });
const IN_FLIGHT = 50;
const FINISH_MS = 300_000;

/** A backlog that was added beforehand is worked off by a process of its own. */
export const drainingQueue = (kind: KindName, concurrency: number): Measured => ({
  name: kinds[kind].name,
  measure: (environment, scale) =>
    withQueue(kind, environment, async (queue, url) => {
      // BullMQ on Redis would be through with as many as the others have before it has warmed up.
      const total = backlogOf(scale) * (kind === 'bullmq' ? 4 : 1);
      await queue.addMany(total);
      const servers = environment.serverSeconds();
      const worker = startWorker({ kind, url, concurrency, reportAt: [total] });
      try {
        const perSecond = rateOf(await worker.until(total));
        return { perSecond, ...worker.costs(total, environment.serverSeconds() - servers) };
      } finally {
        await worker.client.stop();
      }
    }),
});

/** Added one by one, 50 at a time, while they are worked off by another process. */
export const queueEndToEnd = (kind: KindName, concurrency: number): Measured => ({
  name: kinds[kind].name,
  measure: (environment, scale) =>
    withQueue(kind, environment, async (queue, url) => {
      const warm = scale.quick ? 50 : 2_000;
      const total = backlogOf(scale);
      const worker = startWorker({ kind, url, concurrency, reportAt: [warm, warm + total] });
      try {
        await addSingly(queue, warm);
        await worker.until(warm);
        const servers = environment.serverSeconds();
        const { user, system } = process.cpuUsage();
        const earlier = worker.client.usage().cpuSeconds;
        const began = performance.timeOrigin + performance.now();
        const [, seen] = await Promise.all([addSingly(queue, total), worker.until(warm + total)]);
        const used = process.cpuUsage();
        // This process submits, which in the service is the api's part.
        const adding = (used.user - user + used.system - system) / 1_000_000;
        const serving = environment.serverSeconds() - servers;
        return {
          perSecond: (total / (seen.at(-1)!.at - began)) * 1_000,
          ...worker.costs(total, serving, adding - earlier),
        };
      } finally {
        await worker.client.stop();
      }
    }),
});

/** How many are taken in a second. */
export const submittingToQueue = (kind: KindName, bulk: boolean): Measured => ({
  name: `${kinds[kind].name}, ${bulk ? 'in bulk' : 'singly'}`,
  measure: (environment, { quick }) =>
    withQueue(kind, environment, async (queue) => {
      const add = (count: number) => (bulk ? queue.addMany(count) : addSingly(queue, count));
      const total = (quick ? 1_000 : 10_000) * (bulk ? 5 : 1);
      await add(total / 10);
      const servers = environment.serverSeconds();
      const began = performance.now();
      await add(total);
      const seconds = (performance.now() - began) / 1_000;
      return {
        perSecond: total / seconds,
        serverCpuMs: ((environment.serverSeconds() - servers) / total) * 1_000,
      };
    }),
});

/** Jobs of a backlog that does nothing. */
export const backlogOf = ({ quick }: Scale): number => (quick ? 500 : 5_000);

async function withQueue(
  kind: KindName,
  environment: Environment,
  measure: (queue: PeerQueue, url: string) => Promise<Figures>,
): Promise<Figures> {
  const { on, open } = kinds[kind];
  const database = on === 'postgres' ? await environment.createDatabase() : null;
  try {
    const url = database?.url ?? (await environment.freshRedis());
    const queue = await open(url);
    try {
      return await measure(queue, url);
    } finally {
      await queue.close();
    }
  } finally {
    await database?.drop();
  }
}

async function addSingly(queue: PeerQueue, count: number): Promise<void> {
  let next = 0;
  const adding = async (): Promise<void> => {
    while (next < count) await queue.add(next++);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, adding));
}

interface QueueWorker {
  readonly client: Client;
  /** @returns every report up to `count` jobs, by the clock of all processes @throws when they do not get there in time */
  until(count: number): Promise<readonly Progress[]>;
  /** @param more processor time that belongs to the jobs beside the worker's, in seconds */
  costs(jobs: number, serverSeconds: number, more?: number): Figures;
}

function startWorker(assignment: Assignment): QueueWorker {
  const client = startClient('bench/peers/queue-worker.js', nodeOptions());
  const seen: Progress[] = [];
  let look = (): void => undefined;
  client.onMessage((message) => {
    seen.push(progress.parse(message));
    look();
  });
  client.send(assignment);
  return {
    client,
    async until(count) {
      let timer: NodeJS.Timeout | undefined;
      const reached = new Promise<void>((resolve, reject) => {
        timer = setTimeout(() => {
          reject(new Error(`Only ${seen.at(-1)?.done ?? 0} of ${count} are done`));
        }, FINISH_MS);
        look = () => {
          if ((seen.at(-1)?.done ?? 0) >= count) resolve();
        };
        look();
      });
      await Promise.race([reached, client.failed]).finally(() => clearTimeout(timer));
      return seen;
    },
    costs(jobs, serverSeconds, more = 0) {
      const { cpuSeconds, peakMb } = client.usage();
      const own = cpuSeconds + more;
      return { cpuMs: (own / jobs) * 1_000, allCpuMs: ((own + serverSeconds) / jobs) * 1_000, peakMb };
    },
  };
}
