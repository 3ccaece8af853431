import { randomUUID } from 'node:crypto';
import { expect, it, onTestFinished } from 'vitest';
import type { JobEvent } from '../../src/events/job.ts';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import { jobsProjection } from '../../src/projections/jobs.ts';
import { readPage } from '../../src/queries/job-page.ts';
import { createTestDatabase, silentLogger } from '../support/database.ts';
import { events, USER } from '../support/job-spec.ts';
import { applyTo } from '../support/read-models.ts';
import { stored } from '../support/store.ts';

/** As many jobs, every third of them cancelled, three at a time created in the same millisecond. */
async function setup(count: number) {
  const test = await createTestDatabase();
  onTestFinished(() => test.drop());
  // As requests have it: statements are planned once.
  const database = createDatabase({
    url: test.url,
    max: 1,
    applicationName: 'test',
    logger: silentLogger,
    prepare: true,
  });
  onTestFinished(() => database.close());
  const history = Array.from({ length: count }, (_, n) => {
    const id = randomUUID();
    const occurredAt = new Date(Date.UTC(2026, 0, 1) + Math.floor(n / 3)).toISOString();
    const own: JobEvent[] = [events.created({ jobId: id }), ...(n % 3 === 0 ? [events.cancelled()] : [])];
    return own.map((event, revision) => ({ ...stored(event, occurredAt), stream: `job-${id}`, revision }));
  }).flat();
  await applyTo(
    test.database,
    jobsProjection,
    history.map((event, position) => ({ ...event, position: BigInt(position) })),
  );
  return database;
}

it.each([null, 'PENDING', 'CANCELLED'] as const)(
  'pages of jobs (status %s) are cuts of the whole list, from whichever end they are nearer to',
  async (status) => {
    const database = await setup(620);
    // The first pages are read from the beginning; what they hold is what there is.
    const { jobs: whole, total } = await readPage(database, USER, { page: 1, limit: 1_000, status });
    expect(total).toBe(status === null ? 620 : status === 'PENDING' ? 413 : 207);
    expect(whole).toHaveLength(total);
    const order = ({ createdAt, id }: (typeof whole)[number]) => createdAt + id;
    expect(whole.map(order)).toEqual(whole.map(order).toSorted().toReversed());
    for (const limit of [13, 69, 100, 207]) {
      for (let page = 1; page <= Math.ceil(total / limit) + 2; page++) {
        const found = await readPage(database, USER, { page, limit, status });
        expect(found).toEqual({ total, jobs: whole.slice((page - 1) * limit, page * limit) });
      }
    }
    expect(await readPage(database, 'nobody', { page: 3, limit: 5, status })).toEqual({ total: 0, jobs: [] });
  },
);
