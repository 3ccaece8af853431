import type { TestProject } from 'vitest/node';
import { startTestPostgres } from './test-postgres.ts';

/** One server for the whole test run. */
export default async function setup({ provide }: TestProject): Promise<() => Promise<void>> {
  const postgres = await startTestPostgres();
  provide('postgresUrl', postgres.url);
  return () => postgres.stop();
}
