import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';

import { openEmbeddedPostgres } from '../../src/infrastructure/embedded/embedded-postgres.ts';
import { createLogger } from '../../src/logger.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Connection string of a superuser on database `postgres`, where each test makes its own database. */
    postgresUrl: string;
  }
}

/** Nothing in a test run has to outlive a power cut, so the server need not wait for the disk. */
const settings = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' };

/** Starts one server for the whole test run, or takes the one that ASYNCLY_TEST_POSTGRES_URL names. */
export default async function setup({ provide }: TestProject): Promise<(() => Promise<void>) | undefined> {
  const given = process.env['ASYNCLY_TEST_POSTGRES_URL'];
  if (given !== undefined && given !== '') {
    provide('postgresUrl', given);
    return undefined;
  }
  const dataDir = await mkdtemp(join(tmpdir(), 'asyncly-test-'));
  const postgres = await openEmbeddedPostgres({
    dataDir,
    roles: [],
    logger: createLogger('warn'),
    settings,
  });
  const url = new URL(postgres.url);
  url.pathname = '/postgres';
  provide('postgresUrl', url.href);
  return async () => {
    await postgres.stop();
    await rm(dataDir, { recursive: true, force: true });
  };
}
