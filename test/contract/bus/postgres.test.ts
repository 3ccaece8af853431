import pg from 'pg';
import type { Bus } from '../../../src/bus.ts';
import { createNotifyBus } from '../../../src/infrastructure/postgres/notify-bus.ts';
import { createTestDatabase, silentLogger } from '../../support/database.ts';
import { describeBus } from './describe-bus.ts';

describeBus('Postgres', async () => {
  const test = await createTestDatabase({ migrated: false });
  const admin = new pg.Client({ connectionString: test.url });
  await admin.connect();
  const buses: Bus[] = [];
  return {
    connect() {
      const bus = createNotifyBus({ url: test.url, logger: silentLogger });
      buses.push(bus);
      return bus;
    },
    async disconnect() {
      await admin.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'asyncly bus'`,
      );
    },
    async dispose() {
      await Promise.all(buses.map((bus) => bus.close()));
      await admin.end();
      await test.drop();
    },
  };
});
