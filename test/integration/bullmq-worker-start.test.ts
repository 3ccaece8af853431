import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { createBullmqQueue } from '../../src/infrastructure/bullmq/bullmq-queue.ts';
import { createPostgresQueueBackend } from '../../src/infrastructure/bullmq/postgres-backend.ts';
import { createCuttingProxy } from '../support/cutting-proxy.ts';
import { createTestDatabase } from '../support/database.ts';
import { createGate, eventually } from '../support/waiting.ts';

/** A queue on Postgres behind a proxy, and what it logs. */
async function setUp() {
  const test = await createTestDatabase();
  const url = new URL(test.url);
  const proxy = await createCuttingProxy({ host: url.hostname, port: Number(url.port) });
  url.host = `127.0.0.1:${proxy.port}`;
  const warnings: string[] = [];
  const logger = pino({ level: 'warn' }, { write: (line: string) => warnings.push(line) });
  const backend = await createPostgresQueueBackend(url.href, test.database);
  const queue = createBullmqQueue(backend, logger, { retryMs: 100 });
  onTestFinished(async () => {
    await queue.close();
    await proxy.close();
    await test.drop();
  });
  return { queue, proxy, warnings, database: test.database };
}

const entry = () => ({ kind: 'job', jobId: randomUUID(), round: 1, attempt: 1, dueAt: new Date() }) as const;

it('takes entries although Postgres was away when the worker started, and keeps no processor busy meanwhile', async () => {
  const { queue, proxy, warnings } = await setUp();
  const back = proxy.refuse();
  const taken = createGate<string>();
  const consumer = queue.consume(2, (item) => {
    taken.open(item.jobId);
    return Promise.resolve({ done: true });
  });
  onTestFinished(() => consumer.stop());
  await eventually(() => warnings.length > 2, 20_000);
  back();
  const added = entry();
  await eventually(() => queue.add([added]).then(() => true), 20_000);
  expect(await taken.opened).toBe(added.jobId);
  expect(warnings.length).toBeLessThan(100);
});

it('takes entries again after an outage in which every connection was cut at once', async () => {
  const { queue, proxy, warnings } = await setUp();
  const taken: string[] = [];
  const consumer = queue.consume(2, (item) => {
    taken.push(item.jobId);
    return Promise.resolve({ done: true });
  });
  onTestFinished(() => consumer.stop());
  const [before, after] = [entry(), entry()];
  await queue.add([before]);
  await eventually(() => taken.includes(before.jobId));
  const back = proxy.refuse();
  await eventually(() => warnings.length > 2, 20_000);
  back();
  await eventually(() => queue.add([after]).then(() => true), 20_000);
  await eventually(() => taken.includes(after.jobId), 20_000);
  expect(warnings.length).toBeLessThan(100);
});

it('stops while Postgres is away', async () => {
  const { queue, proxy, warnings } = await setUp();
  const back = proxy.refuse();
  const consumer = queue.consume(2, () => Promise.resolve({ done: true }));
  await eventually(() => warnings.length > 0, 20_000);
  await consumer.stop();
  back();
});

it('leaves no connection behind when it is stopped as it starts', async () => {
  const { queue, database } = await setUp();
  for (let n = 0; n < 10; n++) {
    const consumer = queue.consume(2, () => Promise.resolve({ done: true }));
    await consumer.stop();
  }
  // The name that BullMQ gives the connection on which a worker listens.
  await eventually(async () => {
    const { rowCount } = await database.query(
      `SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'asyncly'`,
    );
    return rowCount === 0;
  });
});
