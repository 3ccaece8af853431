import { createBullmqQueue } from '../../src/infrastructure/bullmq/bullmq-queue.ts';
import type { BullmqBackend } from '../../src/infrastructure/bullmq/bullmq-queue.ts';
import { createPostgresQueueBackend } from '../../src/infrastructure/bullmq/postgres-backend.ts';
import { createRedisQueueBackend } from '../../src/infrastructure/bullmq/redis-backend.ts';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import { openRedis } from '../../src/infrastructure/redis/connect.ts';
import { createLogger } from '../../src/logger.ts';

/** A process that takes one item from the queue, prints it, and never comes to an end with it. */
const [url, lockMs] = process.argv.slice(2) as [string, string];
const logger = createLogger('silent');

async function openBackend(): Promise<BullmqBackend> {
  if (url.startsWith('redis:')) return createRedisQueueBackend(await openRedis({ url, logger }));
  const database = createDatabase({ url, max: 2, applicationName: 'hanging worker', logger });
  return createPostgresQueueBackend(url, database);
}

const queue = createBullmqQueue(await openBackend(), logger, { lockMs: Number(lockMs) });
queue.consume(1, (item) => {
  process.stdout.write(`${JSON.stringify(item)}\n`);
  return new Promise(() => undefined);
});
