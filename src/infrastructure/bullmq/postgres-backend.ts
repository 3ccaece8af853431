import { createPostgresBackend, Queue, Worker } from 'bullmq';
import type { Database } from '../../database.ts';
import type { BullmqBackend } from './bullmq-queue.ts';

/** Schema of BullMQ's own tables; `migrate` lays them. */
export const BULLMQ_SCHEMA = 'bullmq';
const QUEUE_NAME = 'asyncly';

/**
 * BullMQ on its Postgres backend, for deployments without Redis.
 * @param url the database, with BullMQ's schema in place
 * @param database for the epoch, which is kept beside BullMQ's tables so that it shares their fate
 */
export async function createPostgresQueueBackend(url: string, database: Database): Promise<BullmqBackend> {
  const connection = (max: number) => ({ connectionString: url, schema: BULLMQ_SCHEMA, max });
  await database.transaction(async (tx) => {
    await tx.query(`SELECT pg_advisory_xact_lock(hashtext('asyncly.queue_epoch'))`);
    await tx.query(`CREATE TABLE IF NOT EXISTS ${BULLMQ_SCHEMA}.asyncly_epoch (epoch bigint NOT NULL)`);
  });
  const queue = new Queue(QUEUE_NAME, { connection: connection(3) }, createPostgresBackend);
  await queue.waitUntilReady();
  return {
    queue,
    createWorker: (processor, settings) =>
      new Worker(QUEUE_NAME, processor, { ...settings, connection: connection(5) }, createPostgresBackend),
    async readEpoch() {
      const { rows } = await database.query<{ epoch: bigint }>(
        `SELECT epoch FROM ${BULLMQ_SCHEMA}.asyncly_epoch`,
      );
      return rows[0]?.epoch ?? null;
    },
    async writeEpoch(epoch) {
      await database.transaction(async (tx) => {
        await tx.query(`DELETE FROM ${BULLMQ_SCHEMA}.asyncly_epoch`);
        await tx.query(`INSERT INTO ${BULLMQ_SCHEMA}.asyncly_epoch VALUES ($1)`, [epoch]);
      });
    },
  };
}
