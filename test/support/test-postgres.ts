import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEmbeddedPostgres } from '../../src/infrastructure/embedded/embedded-postgres.ts';
import { createLogger } from '../../src/logger.ts';

export interface TestPostgres {
  /** Connection string of a superuser on database `postgres`. */
  readonly url: string;
  stop(): Promise<void>;
}

/** Nothing in a test run has to outlive a power cut, so the server need not wait for the disk. */
const settings = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' };

/** Starts a server for tests, or takes the one that ASYNCLY_TEST_POSTGRES_URL names. */
export async function startTestPostgres(): Promise<TestPostgres> {
  const given = process.env['ASYNCLY_TEST_POSTGRES_URL'];
  if (given !== undefined && given !== '') return { url: given, stop: () => Promise.resolve() };
  const dataDir = await mkdtemp(join(tmpdir(), 'asyncly-test-'));
  const postgres = await openEmbeddedPostgres({ dataDir, roles: [], logger: createLogger('warn'), settings });
  const url = new URL(postgres.url);
  url.pathname = '/postgres';
  return {
    url: url.href,
    async stop() {
      await postgres.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
