import { createBullmqQueue } from '../../src/infrastructure/bullmq/bullmq-queue.ts';
import { createPostgresQueueBackend } from '../../src/infrastructure/bullmq/postgres-backend.ts';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import { createLogger } from '../../src/logger.ts';

/** A process that takes one item from the queue, prints it, and never comes to an end with it. */
const [url, lockMs] = process.argv.slice(2) as [string, string];
const logger = createLogger('silent');
const database = createDatabase({ url, max: 2, applicationName: 'hanging worker', logger });
const queue = createBullmqQueue(await createPostgresQueueBackend(url, database), logger, {
  lockMs: Number(lockMs),
});
queue.consume(1, (item) => {
  process.stdout.write(`${JSON.stringify(item)}\n`);
  return new Promise(() => undefined);
});
