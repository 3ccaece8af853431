import { Queue, Worker } from 'bullmq';
import { Logger, makeWorkerUtils, run as runGraphile } from 'graphile-worker';
import { Redis } from 'ioredis';
import pg from 'pg';
import PgBoss from 'pg-boss';
import { rateOf } from '../lib/jobs.ts';
import type { Progress } from '../lib/jobs.ts';
import type { Measured, Scale } from '../lib/scenario.ts';

/** Jobs of a backlog that does nothing. */
export const backlogOf = ({ quick }: Scale): number => (quick ? 500 : 5_000);

/** Counts completions as they come. */
function counter(total: number): { done: () => void; finished: Promise<readonly Progress[]> } {
  const seen: Progress[] = [];
  let count = 0;
  let finish!: (seen: readonly Progress[]) => void;
  const finished = new Promise<readonly Progress[]>((resolve) => (finish = resolve));
  return {
    done() {
      count++;
      if (count === 1 || count === total) seen.push({ at: performance.now(), done: count });
      if (count === total) finish(seen);
    },
    finished,
  };
}

/** BullMQ on Redis as it is, without a record of anything. */
export const rawBullmq = (concurrency: number): Measured => ({
  name: 'BullMQ on Redis',
  async measure(environment, scale) {
    const connection = new Redis(await environment.freshRedis(), { maxRetriesPerRequest: null });
    const total = backlogOf(scale);
    const queue = new Queue('bench', { connection });
    await queue.addBulk(
      Array.from({ length: total }, (_, n) => ({
        name: 'job',
        data: { n },
        opts: { removeOnComplete: true },
      })),
    );
    const { done, finished } = counter(total);
    const worker = new Worker(
      'bench',
      () => {
        done();
        return Promise.resolve();
      },
      { connection, concurrency },
    );
    const seen = await finished;
    await worker.close();
    await queue.close();
    connection.disconnect();
    return { perSecond: rateOf(seen) };
  },
});

/** graphile-worker as it comes. */
export const graphileWorker = (concurrency: number): Measured => ({
  name: 'graphile-worker',
  async measure(environment, scale) {
    const database = await environment.createDatabase();
    const total = backlogOf(scale);
    const pgPool = new pg.Pool({ connectionString: database.url, max: concurrency + 2 });
    // A connection that is still closing when its database goes says so.
    pgPool.on('error', () => undefined);
    const utils = await makeWorkerUtils({ pgPool });
    await utils.migrate();
    await utils.withPgClient((client) =>
      client.query(
        `SELECT graphile_worker.add_job('bench', json_build_object('n', n)) FROM generate_series(1, $1::int) n`,
        [total],
      ),
    );
    await utils.release();
    const { done, finished } = counter(total);
    const runner = await runGraphile({
      pgPool,
      concurrency,
      noHandleSignals: true,
      taskList: { bench: () => done() },
      logger: new Logger(() => () => undefined),
    });
    const seen = await finished;
    await runner.stop();
    await pgPool.end();
    await database.drop();
    return { perSecond: rateOf(seen) };
  },
});

/** pg-boss fetching one job at a time, as it comes, with as many pollers as the concurrency. */
export const pgBoss = (concurrency: number): Measured => ({
  name: 'pg-boss',
  async measure(environment, scale) {
    const database = await environment.createDatabase();
    const total = backlogOf(scale);
    const boss = new PgBoss({ connectionString: database.url, max: 10 });
    boss.on('error', (error) => console.error(`pg-boss: ${error.message}`));
    await boss.start();
    await boss.createQueue('bench');
    await boss.insert(Array.from({ length: total }, (_, n) => ({ name: 'bench', data: { n } })));
    const { done, finished } = counter(total);
    // `work` waits half a second at least between two fetches; a loop over fetch and complete is what it can do at most.
    const workers = Array.from({ length: concurrency }, async () => {
      for (let [job] = await boss.fetch('bench'); job; [job] = await boss.fetch('bench')) {
        await boss.complete('bench', job.id);
        done();
      }
    });
    const seen = await finished;
    await Promise.all(workers);
    await boss.stop({ graceful: false });
    await database.drop();
    return { perSecond: rateOf(seen) };
  },
});
