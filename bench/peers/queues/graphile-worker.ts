import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import type { Runner } from 'graphile-worker';
import pg from 'pg';
import { portions } from './peer-queue.ts';
import type { PeerQueue } from './peer-queue.ts';

const TASK = 'bench';

/** graphile-worker as it comes, its pool of 10 included. @param url of the database */
export async function openGraphileWorker(url: string): Promise<PeerQueue> {
  const pgPool = new pg.Pool({ connectionString: url, max: 10 });
  // A connection that is still closing when its database goes says so.
  pgPool.on('error', () => undefined);
  const logger = new Logger(() => () => undefined);
  const utils = await makeWorkerUtils({ pgPool, logger });
  await utils.migrate();
  let runner: Runner | null = null;
  return {
    async add(n) {
      await utils.addJob(TASK, { n });
    },
    async addMany(count) {
      for (const some of portions(count)) {
        await pgPool.query({
          name: 'add-jobs',
          text: `SELECT FROM graphile_worker.add_jobs(ARRAY(
                   SELECT json_populate_record(NULL::graphile_worker.job_spec, spec)
                   FROM json_array_elements($1::json) AS spec))`,
          values: [JSON.stringify(some.map((n) => ({ identifier: TASK, payload: { n } })))],
        });
      }
    },
    async work(concurrency, done) {
      const taskList = { [TASK]: () => done() };
      runner = await run({ pgPool, concurrency, noHandleSignals: true, taskList, logger });
    },
    async close() {
      await runner?.stop();
      await utils.release();
      await pgPool.end();
    },
  };
}
