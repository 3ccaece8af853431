import { createPostgresBackend, Queue } from 'bullmq';
import { createBullmqQueue } from '../../../src/infrastructure/bullmq/bullmq-queue.ts';
import { createPostgresQueueBackend } from '../../../src/infrastructure/bullmq/postgres-backend.ts';
import { QUEUE_SCHEMA } from '../../../src/infrastructure/postgres/migrate.ts';
import { workId } from '../../../src/workers/work-queue.ts';
import type { WorkQueue } from '../../../src/workers/work-queue.ts';
import { createTestDatabase, silentLogger } from '../../support/database.ts';
import { hangingWorkers } from './hanging-workers.ts';
import { describeWorkQueue } from './work-queue-suite.ts';

/** Long enough that a busy machine does not lose a lock, short enough that a test can wait for its end. */
const LOCK_MS = 2_000;

describeWorkQueue('BullMQ on Postgres', async () => {
  const test = await createTestDatabase();
  const { url, database } = test;
  const queues: WorkQueue[] = [];
  const workers = hangingWorkers(url, LOCK_MS);
  const connect = async (): Promise<WorkQueue> => {
    const backend = await createPostgresQueueBackend(url, database);
    const queue = createBullmqQueue(backend, silentLogger, { lockMs: LOCK_MS, retryMs: 200 });
    queues.push(queue);
    return queue;
  };
  return {
    queue: await connect(),
    connect,
    startHangingWorker: workers.start,
    async leaveFinished(entry) {
      const connection = { connectionString: url, schema: QUEUE_SCHEMA, max: 2 };
      const plain = new Queue('asyncly', { connection }, createPostgresBackend);
      await plain.add(entry.kind, {}, { jobId: workId(entry) });
      await database.query(`UPDATE ${QUEUE_SCHEMA}.job SET state = 'completed' WHERE id = $1`, [
        workId(entry),
      ]);
      await plain.close();
    },
    async dispose() {
      workers.killAll();
      await Promise.all(queues.map((queue) => queue.close()));
      await test.drop();
    },
  };
});
