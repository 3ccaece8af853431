import { createPostgresBackend, Queue } from 'bullmq';
import type { Database } from '../../database.ts';
import { QUEUE_SCHEMA } from '../postgres/migrate.ts';
import type { BullmqBackend } from './bullmq-queue.ts';
import { createPostgresWorker } from './postgres-worker.ts';

const QUEUE_NAME = 'asyncly';

/** Milliseconds. Without them a call would wait for ever on a Postgres that does not answer. */
const limits = {
  connectionTimeoutMillis: 5_000,
  statement_timeout: 10_000,
  query_timeout: 12_000,
  keepAlive: true,
};

/**
 * BullMQ on its Postgres backend, for deployments without Redis.
 * @param url the database, with BullMQ's schema in place
 * @param database for the epoch, which is kept beside BullMQ's tables so that it shares their fate
 */
export async function createPostgresQueueBackend(url: string, database: Database): Promise<BullmqBackend> {
  const connection = (max: number) => ({ connectionString: url, schema: QUEUE_SCHEMA, max, ...limits });
  await database.transaction(async (tx) => {
    await tx.query(`SELECT pg_advisory_xact_lock(hashtext('asyncly.queue_epoch'))`);
    await tx.query(`CREATE TABLE IF NOT EXISTS ${QUEUE_SCHEMA}.asyncly_epoch (epoch bigint NOT NULL)`);
  });
  const queue = new Queue(QUEUE_NAME, { connection: connection(3) }, createPostgresBackend);
  await queue.waitUntilReady();
  return {
    queue,
    createWorker: (processor, settings) =>
      createPostgresWorker(QUEUE_NAME, processor, { ...settings, connection: connection(5) }),
    async readEpoch() {
      const { rows } = await database.query<{ epoch: bigint }>(
        `SELECT epoch FROM ${QUEUE_SCHEMA}.asyncly_epoch`,
      );
      return rows[0]?.epoch ?? null;
    },
    replaceEpoch: (found, next) =>
      database.transaction(async (tx) => {
        await tx.query(`LOCK TABLE ${QUEUE_SCHEMA}.asyncly_epoch`);
        const { rows } = await tx.query<{ epoch: bigint }>(`SELECT epoch FROM ${QUEUE_SCHEMA}.asyncly_epoch`);
        if ((rows[0]?.epoch ?? null) !== found) return false;
        await tx.query(`DELETE FROM ${QUEUE_SCHEMA}.asyncly_epoch`);
        await tx.query(`INSERT INTO ${QUEUE_SCHEMA}.asyncly_epoch VALUES ($1)`, [next]);
        return true;
      }),
  };
}
