import { Worker } from 'bullmq';
import { cacheKey, createPool, createRedis, QUEUE, settings, UPDATES } from './settings.ts';

const pool = createPool();
const redis = createRedis();

interface Started {
  readonly user_id: string;
  readonly type: string;
}

const log = (jobId: string, message: string) =>
  pool.query('INSERT INTO job_logs (job_id, message) VALUES ($1, $2)', [jobId, message]);

async function tell(jobId: string, userId: string, type: string, more: object): Promise<void> {
  await Promise.all([
    redis.del(cacheKey(jobId)),
    redis.publish(UPDATES, JSON.stringify({ type, jobId, userId, ...more })),
  ]);
}

const worker = new Worker<{ jobId: string }>(
  QUEUE,
  async ({ data: { jobId } }) => {
    const { rows } = await pool.query<Started>(
      `UPDATE jobs SET status = 'PROCESSING', updated_at = now() WHERE id = $1 AND status <> 'CANCELLED' RETURNING user_id, type`,
      [jobId],
    );
    const [started] = rows;
    if (!started) return;
    const { user_id: userId, type } = started;
    await log(jobId, `Job started: type=${type}`);
    await log(jobId, 'Status updated to PROCESSING');
    await tell(jobId, userId, 'job:processing', { status: 'PROCESSING' });
    await log(jobId, `Processing job type: ${type}`);
    const result = { processed: true, timestamp: new Date().toISOString() };
    await pool.query(`UPDATE jobs SET status = 'DONE', result = $2, updated_at = now() WHERE id = $1`, [
      jobId,
      JSON.stringify(result),
    ]);
    await log(jobId, 'Job completed successfully');
    await tell(jobId, userId, 'job:done', { status: 'DONE', result });
  },
  { connection: createRedis(), concurrency: settings.WORKER_CONCURRENCY },
);
worker.on('error', (error) => console.error(error.message));
