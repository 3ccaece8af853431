import { setTimeout as delay } from 'node:timers/promises';
import PgBoss from 'pg-boss';
import { portions } from './peer-queue.ts';
import type { PeerQueue } from './peer-queue.ts';

const QUEUE = 'bench';
/** Between two looks at an empty queue, in milliseconds. */
const EMPTY_MS = 10;

/** pg-boss fetching one job at a time, its pool of 10 as it comes. @param url of the database */
export async function openPgBoss(url: string): Promise<PeerQueue> {
  let closing = false;
  const boss = new PgBoss({ connectionString: url, max: 10, schedule: false });
  // A connection that is still closing when its database goes says so.
  boss.on('error', (error) => {
    if (!closing) console.error(`pg-boss: ${error.message}`);
  });
  await boss.start();
  await boss.createQueue(QUEUE);
  let workers: Promise<unknown> = Promise.resolve();
  async function worker(done: () => void): Promise<void> {
    while (!closing) {
      const [job] = await boss.fetch(QUEUE);
      if (!job) {
        await delay(EMPTY_MS);
        continue;
      }
      await boss.complete(QUEUE, job.id);
      done();
    }
  }
  return {
    async add(n) {
      await boss.send(QUEUE, { n });
    },
    async addMany(count) {
      for (const some of portions(count)) await boss.insert(some.map((n) => ({ name: QUEUE, data: { n } })));
    },
    work(concurrency, done) {
      // `boss.work` waits half a second at least between two fetches; a loop is what it can do at most.
      workers = Promise.all(Array.from({ length: concurrency }, () => worker(done)));
      return Promise.resolve();
    },
    async close() {
      closing = true;
      await workers;
      await boss.stop({ graceful: false });
    },
  };
}
