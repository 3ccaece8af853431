import { describe, expect, it } from 'vitest';
import { discard } from '../../src/projections/discard.ts';
import { rebuild } from '../../src/projections/rebuild.ts';
import { projections } from '../../src/projections/registry.ts';
import { rollback } from '../../src/projections/rollback.ts';
import { listProjections } from '../../src/projections/status.ts';
import { createMaintained, stores } from '../support/maintaining.ts';
import type { Maintained } from '../support/maintaining.ts';
import { writeJobs } from '../support/many-jobs.ts';
import { definitionsOf, freshRows, rowsOf } from '../support/read-models.ts';

const jobs = projections.find(({ name }) => name === 'jobs')!;

async function versions({ database }: Maintained): Promise<unknown> {
  const [listed] = await listProjections(database, [jobs]);
  return [listed?.live, ...(listed?.others.map(({ version, state }) => `${version} ${state}`) ?? [])];
}

describe.each(stores)('a rollback over %s', (kind) => {
  it('brings the former rows back, with the events they have missed, and can be rolled back itself', async () => {
    const test = await createMaintained(kind);
    const { database, store } = test;
    await writeJobs(store, 20);
    await test.project();
    // Something that only the former version has, to tell the two apart.
    await database.query(`UPDATE jobs SET worker_id = NULL, error = 'of version 1' WHERE status = 'DONE'`);
    await test.maintain((m) => rebuild(m, [jobs]));
    expect(await rowsOf(database)).toEqual(await freshRows(store));
    const definitions = await definitionsOf(database);
    await writeJobs(store, 35, 20);
    await test.project();

    const back = await test.maintain((m) => rollback(m, jobs));
    expect(back).toMatchObject({ version: 1, previous: 2, position: await store.head() });
    expect(back.events).toBeGreaterThan(15);
    const { rows } = await database.query<{ old: number; new: number }>(
      `SELECT count(*) FILTER (WHERE error = 'of version 1')::integer AS old,
         count(*) FILTER (WHERE error IS NULL)::integer AS new FROM jobs`,
    );
    expect(rows).toEqual([{ old: 20, new: 15 }]);
    expect(await versions(test)).toEqual([1, '2 previous']);
    expect(await definitionsOf(database)).toEqual(definitions);

    await writeJobs(store, 40, 35);
    await test.project();
    await test.maintain((m) => rollback(m, jobs));
    expect(await versions(test)).toEqual([2, '1 previous']);
    expect(await rowsOf(database)).toEqual(await freshRows(store));
    expect(await definitionsOf(database)).toEqual(definitions);

    // The next rebuild keeps what is live now, and drops what it would have rolled back to.
    await test.maintain((m) => rebuild(m, [jobs]));
    expect(await versions(test)).toEqual([3, '2 previous']);
    expect(await rowsOf(database)).toEqual(await freshRows(store));
    expect(await rowsOf(database, 'read_model_jobs_2').catch(() => null)).toBeNull();
  });
});

describe('a rollback', () => {
  it('loses nothing while events keep coming', async () => {
    const test = await createMaintained();
    const { store } = test;
    await writeJobs(store, 5);
    test.startProjector();
    await test.caughtUp();
    let written = 5;
    const stopped = new AbortController();
    const writing = (async () => {
      for (; !stopped.signal.aborted; written += 3) await writeJobs(store, written + 3, written);
    })();
    try {
      await test.maintain((m) => rebuild(m, projections));
      for (let i = 0; i < 4; i++)
        await test.maintain(async (m) => {
          for (const projection of projections) await rollback(m, projection);
        });
    } finally {
      stopped.abort();
      await writing;
    }
    await test.caughtUp();
    expect(await rowsOf(test.database)).toEqual(await freshRows(store));
  }, 120_000);

  it('refuses when there is nothing to go back to', async () => {
    const test = await createMaintained();
    await writeJobs(test.store, 2);
    await test.project();
    await expect(test.maintain((m) => rollback(m, jobs))).rejects.toThrow('no previous version of jobs');
    await test.maintain((m) => rebuild(m, [jobs]));
    expect(await test.maintain((m) => discard(m, 'jobs'))).toMatchObject([{ version: 1, state: 'previous' }]);
    await expect(test.maintain((m) => rollback(m, jobs))).rejects.toThrow('no previous version of jobs');
    expect(await rowsOf(test.database)).toEqual(await freshRows(test.store));
  });

  it('takes new indexes along, and refuses when columns have changed', async () => {
    const test = await createMaintained();
    const { database } = test;
    await writeJobs(test.store, 2);
    await test.project();
    await test.maintain((m) => rebuild(m, [jobs]));
    await database.query('CREATE INDEX jobs_by_type ON jobs (type); DROP INDEX jobs_by_user_status');
    const definitions = await definitionsOf(database);
    await test.maintain((m) => rollback(m, jobs));
    expect(await definitionsOf(database)).toEqual(definitions);

    await database.query('ALTER TABLE jobs ADD COLUMN later integer');
    await expect(test.maintain((m) => rollback(m, jobs))).rejects.toMatchObject({ code: 'SHAPE_CHANGED' });
    expect(await versions(test)).toEqual([1, '2 previous']);
  });

  it('refuses what was made before a table was added, which the next rebuild replaces', async () => {
    const test = await createMaintained();
    const { database, store } = test;
    await writeJobs(store, 3);
    await test.project();
    await test.maintain((m) => rebuild(m, [jobs]));
    await database.query('DROP TABLE read_model_jobs_1.job_totals');
    await expect(test.maintain((m) => rollback(m, jobs))).rejects.toMatchObject({ code: 'SHAPE_CHANGED' });
    expect(await rowsOf(database)).toEqual(await freshRows(store));
    await test.maintain((m) => rebuild(m, [jobs]));
    await test.maintain((m) => rollback(m, jobs));
    expect(await versions(test)).toEqual([2, '3 previous']);
    expect(await rowsOf(database)).toEqual(await freshRows(store));
  });
});
