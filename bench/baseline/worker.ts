import { Worker } from 'bullmq';
import type pg from 'pg';
import { cacheKey, createPool, createRedis, QUEUE, settings, UPDATES } from './settings.ts';

const pool = createPool();
const redis = createRedis();

interface Started {
  readonly user_id: string;
  readonly type: string;
}

const log = (client: pg.PoolClient, jobId: string, message: string) =>
  client.query({
    name: 'log',
    text: 'INSERT INTO job_logs (job_id, message) VALUES ($1, $2)',
    values: [jobId, message],
  });

async function start(jobId: string): Promise<Started | undefined> {
  const client = await pool.connect();
  try {
    const { rows } = await client.query<Started>({
      name: 'start',
      text: `UPDATE jobs SET status = 'PROCESSING', updated_at = now()
             WHERE id = $1 AND status <> 'CANCELLED' RETURNING user_id, type`,
      values: [jobId],
    });
    const [started] = rows;
    if (!started) return undefined;
    const { user_id: userId, type } = started;
    await Promise.all([
      log(client, jobId, `Job started: type=${type}`),
      log(client, jobId, 'Status updated to PROCESSING'),
      log(client, jobId, `Processing job type: ${type}`),
      tell(jobId, userId, 'job:processing', { status: 'PROCESSING' }),
    ]);
    return started;
  } finally {
    client.release();
  }
}

async function finish(jobId: string, { user_id: userId }: Started, result: object): Promise<void> {
  const client = await pool.connect();
  try {
    const done = client.query({
      name: 'finish',
      text: `UPDATE jobs SET status = 'DONE', result = $2, updated_at = now() WHERE id = $1`,
      values: [jobId, JSON.stringify(result)],
    });
    await Promise.all([
      log(client, jobId, 'Job completed successfully'),
      done.then(() => tell(jobId, userId, 'job:done', { status: 'DONE', result })),
    ]);
  } finally {
    client.release();
  }
}

async function tell(jobId: string, userId: string, type: string, more: object): Promise<void> {
  await Promise.all([
    redis.del(cacheKey(userId, jobId)),
    redis.publish(UPDATES, JSON.stringify({ type, jobId, userId, ...more })),
  ]);
}

const worker = new Worker<{ jobId: string }>(
  QUEUE,
  async ({ data: { jobId } }) => {
    const started = await start(jobId);
    if (!started) return;
    // The handler, which does nothing. No connection is held while it runs.
    const result = { processed: true, timestamp: new Date().toISOString() };
    await finish(jobId, started, result);
  },
  { connection: createRedis({ pipelined: false }), concurrency: settings.WORKER_CONCURRENCY },
);
worker.on('error', (error) => console.error(error.message));
