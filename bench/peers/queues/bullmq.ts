import { createPostgresBackend, Queue, runMigrations, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { connect } from '../../lib/connect.ts';
import { portions } from './peer-queue.ts';
import type { PeerQueue } from './peer-queue.ts';

const NAME = 'bench';
const opts = { removeOnComplete: true };

const asProcessor = (done: () => void) => (): Promise<void> => {
  done();
  return Promise.resolve();
};

/** BullMQ on Redis as it is. @param url of Redis */
export function openBullmq(url: string): Promise<PeerQueue> {
  const connection = new Redis(url, { maxRetriesPerRequest: null });
  const queue = new Queue(NAME, { connection });
  let worker: Worker | null = null;
  return Promise.resolve({
    async add(n: number) {
      await queue.add('job', { n }, opts);
    },
    async addMany(count: number) {
      for (const some of portions(count))
        await queue.addBulk(some.map((n) => ({ name: 'job', data: { n }, opts })));
    },
    work(concurrency: number, done: () => void) {
      worker = new Worker(NAME, asProcessor(done), { connection, concurrency });
      return Promise.resolve();
    },
    async close() {
      await worker?.close();
      await queue.close();
      connection.disconnect();
    },
  });
}

/** BullMQ on its Postgres backend. @param url of the database */
export async function openBullmqOnPostgres(url: string): Promise<PeerQueue> {
  const client = await connect(url);
  await runMigrations(client);
  await client.end();
  const connection = (max: number) => ({ connectionString: url, max });
  const queue = new Queue(NAME, { connection: connection(10) }, createPostgresBackend);
  // A connection that is still closing when its database goes says so.
  queue.on('error', () => undefined);
  await queue.waitUntilReady();
  let worker: { close(): Promise<void> } | null = null;
  return {
    async add(n) {
      await queue.add('job', { n }, opts);
    },
    async addMany(count) {
      for (const some of portions(count))
        await queue.addBulk(some.map((n) => ({ name: 'job', data: { n }, opts })));
    },
    work(concurrency, done) {
      const settings = { connection: connection(10), concurrency };
      const started = new Worker(NAME, asProcessor(done), settings, createPostgresBackend);
      started.on('error', () => undefined);
      worker = started;
      return Promise.resolve();
    },
    async close() {
      await worker?.close();
      await queue.close();
    },
  };
}
