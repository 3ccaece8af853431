import pg from 'pg';
import { expect } from 'vitest';
import type { Database } from '../../../src/database.ts';
import type { EventStore } from '../../../src/events/event-store.ts';
import { createPostgresEventStore } from '../../../src/infrastructure/postgres/event-store.ts';
import { encodeAppend, sendBatch } from '../../../src/infrastructure/postgres/event-store-batch.ts';
import { createTestDatabase, silentLogger } from '../../support/database.ts';
import { describeEventStore } from './describe-event-store.ts';
import { PATIENCE } from './harness.ts';
import type { StoreUnderTest } from './harness.ts';

describeEventStore('Postgres', async (): Promise<StoreUnderTest> => {
  const test = await createTestDatabase();
  const admin = new pg.Client({ connectionString: test.url });
  await admin.connect();
  // Open all the time, with a transaction number of its own: subscribers must not wait for it.
  const bystander = new pg.Client({ connectionString: test.url });
  await bystander.connect();
  await bystander.query('BEGIN; CREATE TABLE bystander ()');

  let fetched = 0;
  const counting: Database = {
    async query(sql, values) {
      const result = await test.database.query(sql, values);
      if (sql.includes('last_seen')) fetched += result.rows.filter((row) => row['id'] !== null).length;
      return result as never;
    },
    transaction: (work) => test.database.transaction(work),
    pipeline: (first, work) => test.database.pipeline(first, work),
  };
  const stores: EventStore[] = [];
  const connect: StoreUnderTest['connect'] = (owns) => {
    const store = createPostgresEventStore({
      url: test.url,
      database: counting,
      logger: silentLogger,
      ...(owns && { owns }),
    });
    stores.push(store);
    return store;
  };

  return {
    store: connect(),
    connect,
    fetched: () => fetched,
    faults: {
      async stall() {
        await admin.query('BEGIN; SELECT pg_advisory_xact_lock(7305228461)');
        const waiting = `SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;
        await expect
          .poll(async () => (await admin.query(waiting)).rowCount, { timeout: PATIENCE })
          .toBeGreaterThan(0);
        await admin.query('COMMIT');
      },
      async disconnect() {
        await admin.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE datname = current_database() AND application_name IN ('test', 'asyncly append', 'asyncly listen')`,
        );
      },
      async appendSilently(stream, event) {
        await sendBatch(admin, [encodeAppend(stream, [event], 'no_stream')]);
      },
    },
    async dispose() {
      for (const store of stores) await store.close();
      await bystander.end();
      await admin.end();
      await test.drop();
    },
  };
});
