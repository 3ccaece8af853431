import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CheckpointAheadError } from '../../src/events/event-store.ts';
import type { PositionedEvent } from '../../src/events/event-store.ts';
import { jobStream } from '../../src/events/job.ts';
import { differingRows } from '../../src/projections/compare.ts';
import { rebuild } from '../../src/projections/rebuild.ts';
import { projections } from '../../src/projections/registry.ts';
import { listProjections } from '../../src/projections/status.ts';
import { verify } from '../../src/projections/verify.ts';
import { history } from '../support/histories.ts';
import { events } from '../support/job-spec.ts';
import { createMaintained, stores } from '../support/maintaining.ts';
import type { Maintained } from '../support/maintaining.ts';
import { writeJobs } from '../support/many-jobs.ts';
import { definitionsOf, freshRows, rowsOf } from '../support/read-models.ts';
import { stored } from '../support/store.ts';
import { createGate, eventually } from '../support/waiting.ts';

const jobsOnly = projections.filter(({ name }) => name === 'jobs');

async function corrupt({ database }: Maintained): Promise<void> {
  await database.query(`UPDATE jobs SET status = 'CANCELLED', execution_id = NULL, worker_id = NULL, heartbeat = NULL
                        WHERE id = (SELECT id FROM jobs ORDER BY id LIMIT 1)`);
  await database.query('DELETE FROM job_logs WHERE id = (SELECT id FROM job_logs ORDER BY id LIMIT 1)');
}

/** Ends a rebuild after some batches, as Ctrl-C would. */
async function interruptedRebuild(test: Maintained, batches: number, restart = false): Promise<void> {
  const interrupt = new AbortController();
  let seen = 0;
  const rebuilding = test.maintain((m) => rebuild(m, projections, { restart }), {
    signal: interrupt.signal,
    batchSize: 20,
    onProgress: ({ phase }) => {
      if (phase === 'fill' && ++seen > batches) interrupt.abort(new Error('Ctrl-C'));
    },
  });
  await expect(rebuilding).rejects.toThrow('Ctrl-C');
}

describe.each(stores)('a rebuild over %s', (kind) => {
  it('makes every read model anew, mends what was wrong, and keeps what was live', async () => {
    const test = await createMaintained(kind);
    await writeJobs(test.store, 60);
    await test.project();
    const fresh = await freshRows(test.store);
    expect(await rowsOf(test.database)).toEqual(fresh);
    await corrupt(test);
    expect(await rowsOf(test.database)).not.toEqual(fresh);

    const report = await test.maintain((m) => rebuild(m, projections));
    expect(await rowsOf(test.database)).toEqual(fresh);
    const mended = Object.fromEntries(
      report.projections.map((rebuilt) => [rebuilt.projection, differingRows(rebuilt.mended)]),
    );
    expect(mended).toMatchObject({ jobs: 1, job_logs: 1, webhook_logs: 0 });
    const listed = await listProjections(test.database, projections);
    for (const { live, others } of listed) {
      expect(live).toBe(2);
      expect(others).toMatchObject([{ version: 1, state: 'previous' }]);
    }
    const verified = await test.maintain((m) => verify(m, projections));
    expect(verified.map(({ differing }) => differing)).toEqual(projections.map(() => 0));
  });

  it('goes on from where an earlier one was ended', async () => {
    const test = await createMaintained(kind);
    await writeJobs(test.store, 60);
    await test.project();
    await interruptedRebuild(test, 5);
    const before = await listProjections(test.database, projections);
    const begun = before.map(({ others }) => others.find(({ state }) => state === 'building'));
    expect(begun.some((version) => version !== undefined && version.position > -1n)).toBe(true);
    expect(await test.store.head()).toBeGreaterThan(begun[0]!.position);

    const report = await test.maintain((m) => rebuild(m, projections));
    expect(report.projections.map(({ resumedFrom }) => resumedFrom)).toEqual(
      begun.map((version) => version?.position),
    );
    expect(await rowsOf(test.database)).toEqual(await freshRows(test.store));
  });
});

describe('a rebuild', () => {
  it('gives what a fresh fold gives, whatever the history, wherever it was ended and whatever was wrong', async () => {
    await fc.assert(
      fc.asyncProperty(history, fc.nat(20), fc.nat(20), async (happened, cut, batches) => {
        // A store of its own each time: one that is open remembers the end of its log.
        const test = await createMaintained();
        const { database, store } = test;
        const append = async (some: readonly PositionedEvent[]): Promise<void> => {
          for (const { stream, revision, id, type, data, metadata } of some) {
            const expected = revision === 0 ? 'no_stream' : revision - 1;
            await store.append(stream, [{ id, type, data, metadata }], { expected });
          }
        };
        const split = Math.floor((happened.length * cut) / 20);
        await append(happened.slice(0, split));
        await test.project();
        await corrupt(test);
        const interrupt = new AbortController();
        let seen = 0;
        const ended = await test
          .maintain((m) => rebuild(m, projections), {
            signal: interrupt.signal,
            batchSize: 3,
            onProgress: () => {
              if (++seen > batches) interrupt.abort(new Error('Ctrl-C'));
            },
          })
          .catch((error: unknown) => error);
        if (ended instanceof Error) expect(ended.message).toBe('Ctrl-C');
        await append(happened.slice(split));
        await test.project();
        await test.maintain((m) => rebuild(m, projections), { batchSize: 7 });
        expect(await rowsOf(database)).toEqual(await freshRows(store));
      }),
      { numRuns: 12 },
    );
  }, 240_000);

  it('leaves tables whose indexes, constraints, rights and storage are called and defined as before', async () => {
    const test = await createMaintained();
    const { database } = test;
    await writeJobs(test.store, 10);
    await test.project();
    const role = `reader_${Date.now()}`;
    await database.query(`CREATE ROLE ${role}`);
    await database.query(`GRANT SELECT ON jobs TO ${role} WITH GRANT OPTION`);
    await database.query('ALTER TABLE jobs SET (fillfactor = 80)');
    await database.query(
      'CREATE INDEX "jobs ""odd""" ON jobs ((lower(type)) text_pattern_ops DESC) WHERE revision > 0',
    );
    const before = await definitionsOf(database);
    await test.maintain((m) => rebuild(m, projections));
    expect(await definitionsOf(database)).toEqual(before);
    await test.maintain((m) => rebuild(m, projections));
    expect(await definitionsOf(database)).toEqual(before);
    // A later migration finds everything by its name.
    await database.query(`ALTER TABLE jobs DROP CONSTRAINT jobs_status_check, DROP CONSTRAINT jobs_pkey;
                          DROP INDEX jobs_by_user; ALTER INDEX job_logs_in_order RENAME TO other`);
    await database.query(`DROP OWNED BY ${role}`);
    await database.query(`DROP ROLE ${role}`);
  });

  it('begins anew when told to, when another release had begun, and when the live tables have changed', async () => {
    const test = await createMaintained();
    await writeJobs(test.store, 30);
    await test.project();
    const building = async (): Promise<number | undefined> => {
      const [listed] = await listProjections(test.database, jobsOnly);
      return listed?.others.find(({ state }) => state === 'building')?.version;
    };
    await interruptedRebuild(test, 3);
    const first = await building();
    await interruptedRebuild(test, 1);
    expect(await building()).toBe(first);
    await interruptedRebuild(test, 3, true);
    expect(await building()).toBeGreaterThan(first!);

    await test.database.query(`UPDATE projection_versions SET release = 'older' WHERE state = 'building'`);
    const [rebuilt] = (await test.maintain((m) => rebuild(m, jobsOnly))).projections;
    expect(rebuilt?.resumedFrom).toBeNull();

    await interruptedRebuild(test, 3);
    await test.database.query('ALTER TABLE jobs ADD COLUMN later integer');
    const [again] = (await test.maintain((m) => rebuild(m, jobsOnly))).projections;
    expect(again?.resumedFrom).toBeNull();
    const { rows } = await test.database.query(
      `SELECT FROM information_schema.columns WHERE table_schema = 'public' AND table_name = 'jobs' AND column_name = 'later'`,
    );
    expect(rows).toHaveLength(1);
  });

  it('waits for those who read the live tables, and gives way to them', async () => {
    const test = await createMaintained();
    const { database } = test;
    await writeJobs(test.store, 5);
    await test.project();
    const reading = createGate();
    const goOn = createGate();
    const reader = database.transaction(async (tx) => {
      await tx.query('SELECT FROM jobs LIMIT 1');
      reading.open();
      await goOn.opened;
    });
    await reading.opened;
    await expect(test.maintain((m) => rebuild(m, jobsOnly), { tries: 2 })).rejects.toMatchObject({
      code: 'SWAP_BLOCKED',
      message: expect.stringMatching(/backend \d+ of 'test' has held them/) as string,
    });
    expect((await listProjections(database, jobsOnly))[0]).toMatchObject({
      live: 1,
      others: [{ version: 2, state: 'building' }],
    });
    const swapping = createGate();
    const rebuilding = test.maintain((m) => rebuild(m, jobsOnly), {
      onProgress: ({ phase }) => {
        if (phase === 'swap') swapping.open();
      },
    });
    await swapping.opened;
    await eventually(async () => {
      const { rowCount } = await database.query(
        `SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation = 'public.jobs'::regclass`,
      );
      return rowCount > 0;
    });
    // Whoever comes now gets to read all the same, before the swap is done.
    expect((await database.query('SELECT FROM jobs LIMIT 1')).rowCount).toBe(1);
    expect((await listProjections(database, jobsOnly))[0]?.live).toBe(1);
    goOn.open();
    await reader;
    expect((await rebuilding).projections).toMatchObject([{ version: 2 }]);
  });

  it('refuses what it would break: views, foreign keys, triggers and more on the live tables', async () => {
    const test = await createMaintained();
    const { database } = test;
    await test.project();
    for (const [make, unmake, why] of [
      ['CREATE VIEW seen AS SELECT id FROM jobs', 'DROP VIEW seen', 'is used by the view seen'],
      [
        'CREATE TABLE notes (job uuid REFERENCES jobs)',
        'DROP TABLE notes',
        'has the foreign key notes_job_fkey',
      ],
      [
        `CREATE TRIGGER t BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`,
        'DROP TRIGGER t ON jobs',
        'has the trigger t',
      ],
      ['CREATE PUBLICATION p FOR TABLE jobs', 'DROP PUBLICATION p', 'is in the publication p'],
      [
        'ALTER TABLE jobs ENABLE ROW LEVEL SECURITY',
        'ALTER TABLE jobs DISABLE ROW LEVEL SECURITY',
        'has row-level security',
      ],
      [
        'GRANT SELECT (id) ON jobs TO PUBLIC',
        'REVOKE SELECT (id) ON jobs FROM PUBLIC',
        'has rights on the column id',
      ],
      [
        `CREATE SEQUENCE s; ALTER TABLE jobs ALTER revision SET DEFAULT nextval('s')`,
        'ALTER TABLE jobs ALTER revision DROP DEFAULT; DROP SEQUENCE s',
        'takes default values from the sequence s',
      ],
    ] as const) {
      await database.query(make);
      await expect(test.maintain((m) => rebuild(m, jobsOnly))).rejects.toThrow(why);
      await database.query(unmake);
    }
    await test.maintain((m) => rebuild(m, jobsOnly));
  });

  it('says what is wrong with a read model that never ran, and with a store that was restored', async () => {
    const test = await createMaintained();
    await expect(test.maintain((m) => rebuild(m, jobsOnly))).rejects.toThrow('jobs has never run');
    await writeJobs(test.store, 1);
    await test.project();
    await test.database.query(`UPDATE checkpoints SET position = 1000000 WHERE name = 'jobs'`);
    await expect(test.maintain((m) => rebuild(m, jobsOnly))).rejects.toThrow(CheckpointAheadError);
    await expect(test.maintain((m) => verify(m, jobsOnly))).rejects.toThrow(CheckpointAheadError);
  });

  it('goes as far as a read model that has stopped, and says why that has', async () => {
    const test = await createMaintained();
    const { database, store } = test;
    await writeJobs(store, 3);
    await test.project();
    const poison = { ...stored(events.created()), type: 'JobTeleported' };
    await store.append(jobStream('x'), [poison], { expected: 'no_stream' });
    await writeJobs(store, 5, 3);
    const projector = test.startProjector();
    await eventually(async () => {
      const { rowCount } = await database.query(
        `SELECT FROM checkpoints WHERE name = 'jobs' AND error IS NOT NULL`,
      );
      return rowCount === 1;
    });
    await projector.stop();
    await corrupt(test);
    const report = await test.maintain((m) => rebuild(m, jobsOnly));
    expect(report.projections[0]?.stopped).toContain(`JobTeleported ${poison.id}`);
    expect((await database.query('SELECT FROM jobs')).rowCount).toBe(3);
    const [verified] = await test.maintain((m) => verify(m, jobsOnly));
    expect(verified).toMatchObject({
      differing: 0,
      stopped: expect.stringContaining(poison.id) as string,
    });
  });
});
