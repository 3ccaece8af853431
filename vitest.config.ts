import { defineConfig } from 'vitest/config';
import { BaseSequencer } from 'vitest/node';
import type { TestSpecification } from 'vitest/node';

/**
 * Largest files first, as vitest has it where it does not know how long they take, but before them those that wait for whole services:
 * a long one that began last would leave the other worker idle.
 */
class ServicesFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification): boolean => /\/e2e\/|outage|-rebuild/.test(moduleId);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/compiled.ts', 'test/support/global-postgres.ts'],
    pool: 'forks',
    maxWorkers: 2,
    sequence: { sequencer: ServicesFirst },
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
