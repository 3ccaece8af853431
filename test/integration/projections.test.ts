import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Queryable } from '../../src/database.ts';
import type { PositionedEvent } from '../../src/events/event-store.ts';
import { jobLogStream, jobStream } from '../../src/events/job.ts';
import type { Job } from '../../src/events/job.ts';
import { jobLogsProjection } from '../../src/projections/job-logs.ts';
import { jobsProjection } from '../../src/projections/jobs.ts';
import { startProjector } from '../../src/projections/projector.ts';
import { projections } from '../../src/projections/registry.ts';
import { createJobLogQueries } from '../../src/queries/job-logs.ts';
import { JOB_COLUMNS, jobFromRow } from '../../src/queries/job-row.ts';
import type { JobRow } from '../../src/queries/job-row.ts';
import { createTestDatabase, silentLogger } from '../support/database.ts';
import { foldJobs, historyInBatches, uuid } from '../support/histories.ts';
import { events, execution, JOB_ID } from '../support/job-spec.ts';
import { createTestStore, stored } from '../support/store.ts';
import { eventually } from '../support/waiting.ts';
import { applyTo } from '../support/read-models.ts';

const wanted = (batch: readonly PositionedEvent[], prefixes: readonly string[]): PositionedEvent[] =>
  batch.filter(({ stream }) => prefixes.some((prefix) => stream.startsWith(prefix)));

async function setup() {
  const test = await createTestDatabase();
  onTestFinished(() => test.drop());
  const { database } = test;
  const clear = (): Promise<unknown> => database.query('TRUNCATE jobs, job_totals, job_logs');

  async function project(batches: readonly (readonly PositionedEvent[])[]): Promise<void> {
    for (const batch of batches) {
      for (const projection of [jobsProjection, jobLogsProjection]) {
        await applyTo(database, projection, wanted(batch, projection.prefixes));
      }
    }
  }
  return { database, clear, project };
}

async function readJobs(database: Queryable) {
  const { rows } = await database.query<JobRow>(`SELECT ${JOB_COLUMNS} FROM jobs`);
  return new Map(rows.map((row) => [row.id, jobFromRow(row)]));
}

const STATUSES = ['PENDING', 'PROCESSING', 'DONE', 'FAILED', 'CANCELLED'] as const;

async function readTotals(database: Queryable) {
  const { rows } = await database.query<Record<string, string | bigint>>('SELECT * FROM job_totals');
  return new Map(rows.map(({ user_id: userId, ...counts }) => [userId, counts]));
}

/** What {@link readTotals} must give: each user's jobs, counted one by one. */
function countByUser(jobs: ReadonlyMap<string, Job>): Map<string, Record<string, bigint>> {
  const totals = new Map<string, Record<string, bigint>>();
  for (const { userId } of jobs.values()) {
    const own = [...jobs.values()].filter((job) => job.userId === userId);
    const counts = STATUSES.map((status) => [
      status.toLowerCase(),
      BigInt(own.filter((job) => job.status === status).length),
    ]);
    totals.set(userId, Object.fromEntries(counts) as Record<string, bigint>);
  }
  return totals;
}

/** The same history, with every other job another user's. */
const ofTwoUsers = (events: readonly PositionedEvent[]): PositionedEvent[] =>
  events.map((event) => {
    const { userId } = event.data;
    const isOther = Number.parseInt(event.stream.slice(-1), 16) % 2 === 1;
    return typeof userId === 'string' && isOther
      ? { ...event, data: { ...event.data, userId: uuid(8, 1) } }
      : event;
  });

async function readLogs(database: Queryable) {
  const { rows } = await database.query('SELECT * FROM job_logs ORDER BY position, line');
  return rows;
}

describe('the read models', () => {
  it('hold what a fold of the streams gives, whatever the history and wherever it is cut', async () => {
    const { database, clear, project } = await setup();
    await fc.assert(
      fc.asyncProperty(historyInBatches, async (batches) => {
        await clear();
        await project(batches);
        expect(await readJobs(database)).toEqual(foldJobs(batches.flat()));
        const logs = await readLogs(database);
        // Again, over the rows there are: older never overwrites newer, and no line stands twice.
        await project(batches);
        expect(await readJobs(database)).toEqual(foldJobs(batches.flat()));
        expect(await readLogs(database)).toEqual(logs);
        // From the beginning, in other batches: the same rows.
        await clear();
        await project([batches.flat()]);
        expect(await readJobs(database)).toEqual(foldJobs(batches.flat()));
        expect(await readLogs(database)).toEqual(logs);
      }),
      { numRuns: 40 },
    );
  });

  it('hold as many jobs of each user and status as there are, whatever the history and wherever it is cut', async () => {
    const { database, clear, project } = await setup();
    await fc.assert(
      fc.asyncProperty(historyInBatches, fc.nat(), async (cut, n) => {
        const batches = cut.map(ofTwoUsers);
        await clear();
        // At any point of it, and at its end.
        const some = n % batches.length;
        await project(batches.slice(0, some));
        expect(await readTotals(database)).toEqual(countByUser(foldJobs(batches.slice(0, some).flat())));
        await project(batches.slice(some));
        const expected = countByUser(foldJobs(batches.flat()));
        expect(await readTotals(database)).toEqual(expected);
        // Again, over the rows there are, and from the beginning in one: nothing counts twice.
        await project(batches);
        await project([batches.flat()]);
        expect(await readTotals(database)).toEqual(expected);
        await clear();
        await project([batches.flat()]);
        expect(await readTotals(database)).toEqual(expected);
      }),
      { numRuns: 40 },
    );
  });

  it('brings a row that is behind up to date when its whole stream comes again', async () => {
    const { database, project } = await setup();
    const history = [events.created(), events.started(1), events.completed(1)].map((event, revision) => ({
      ...stored(event),
      stream: jobStream(JOB_ID),
      revision,
      position: BigInt(revision),
    }));
    await project([history.slice(0, 2)]);
    await project([history]);
    expect(await readJobs(database)).toEqual(foldJobs(history));
    expect(await readTotals(database)).toEqual(countByUser(foldJobs(history)));
  });

  it('counts a takeover once that comes again together with what is new', async () => {
    const { database, project } = await setup();
    const history = [
      events.created(),
      events.started(1),
      events.started(2, { supersedes: execution(1) }),
      events.started(3, { supersedes: execution(2) }),
    ].map((event, revision) => ({
      ...stored(event),
      stream: jobStream(JOB_ID),
      revision,
      position: BigInt(revision),
    }));
    await project([history.slice(0, 3)]);
    await project([history.slice(2)]);
    expect(await readJobs(database)).toEqual(foldJobs(history));
  });
});

describe('the log of a job', () => {
  async function linesOf(...history: PositionedEvent[]): Promise<string[]> {
    const { database, project } = await setup();
    await project([history]);
    const { lines } = await createJobLogQueries(database).list(JOB_ID, { page: 1, limit: 100 });
    return lines.map(({ message }) => message);
  }
  const at = (position: number, stream: string, event: Parameters<typeof stored>[0]): PositionedEvent => ({
    ...stored(event),
    stream,
    revision: position,
    position: BigInt(position),
  });
  const origin = { jobId: JOB_ID, round: 1, attempt: 1, executionId: execution(1) };

  it('has the four lines of a job that went well, in order and word for word', async () => {
    const lines = await linesOf(
      at(0, jobStream(JOB_ID), events.created()),
      at(1, jobStream(JOB_ID), events.started(1)),
      at(2, jobStream(JOB_ID), events.completed(1)),
    );
    expect(lines).toEqual([
      'Job started: type=send-email',
      'Status updated to PROCESSING',
      'Processing job type: send-email',
      'Job completed successfully',
    ]);
  });

  it('has what the handler reported between them, NUL and odd characters as well as they can be kept', async () => {
    const lines = await linesOf(
      at(0, jobStream(JOB_ID), events.created()),
      at(1, jobStream(JOB_ID), events.started(1)),
      at(2, jobLogStream(JOB_ID), {
        type: 'JobLogged',
        data: { ...origin, message: 'a\u0000b \ud800 ünï "quoted" \\N {}' },
      }),
      at(3, jobLogStream(JOB_ID), {
        type: 'JobProgressed',
        data: { ...origin, percent: 50, note: 'half\u0000' },
      }),
      at(4, jobStream(JOB_ID), events.failed(1)),
    );
    expect(lines.slice(3)).toEqual([
      'a\uFFFDb \uFFFD ünï "quoted" \\N {}',
      'Progress: 50%, half\uFFFD',
      'Job failed: boom',
    ]);
  });

  it('has a line once that was stored twice', async () => {
    const twice = at(2, jobLogStream(JOB_ID), { type: 'JobLogged', data: { ...origin, message: 'once' } });
    const lines = await linesOf(twice, { ...twice, position: 3n, revision: 3 });
    expect(lines).toEqual(['once']);
  });
});

describe('the projector', () => {
  it('stops read models in front of an event that this build cannot read, and seals it', async () => {
    const test = await createTestStore();
    const { store, database } = test;
    const projector = startProjector({
      store,
      database,
      logger: silentLogger,
      holder: uuid(9, 1),
      projections,
      bus: { publish: () => undefined },
    });
    onTestFinished(async () => {
      await projector.stop();
      await test.drop();
    });
    const unknown = { ...stored(events.created()), type: 'JobOfTomorrow' };
    await store.append(jobStream(JOB_ID), [unknown], { expected: 'no_stream' });
    const rows = await eventually(async () => {
      const { rows: found } = await database.query<{ name: string; events: bigint }>(
        `SELECT name, events FROM checkpoints, audit_head WHERE failed_event_id = $1 ORDER BY name`,
        [unknown.id],
      );
      return found.length === 3 && found;
    });
    expect(rows).toEqual([
      { name: 'job_logs', events: 1n },
      { name: 'job_stats', events: 1n },
      { name: 'jobs', events: 1n },
    ]);
  });

  it('keeps the other read models going when one stops', async () => {
    const test = await createTestStore();
    const { store, database } = test;
    const projector = startProjector({
      store,
      database,
      logger: silentLogger,
      holder: uuid(9, 1),
      projections,
    });
    onTestFinished(async () => {
      await projector.stop();
      await test.drop();
    });
    // A log line of a job whose id is none: only `job_logs` reads it.
    const bad = stored({
      type: 'JobLogged',
      data: { jobId: JOB_ID, round: 1, attempt: 1, executionId: execution(1), message: 'x' },
    });
    await store.append('jobLog-none', [bad], { expected: 'any' });
    const job = [events.created(), events.started(1), events.completed(1)].map((event) => stored(event));
    await store.append(jobStream(JOB_ID), job, { expected: 'no_stream' });
    await eventually(async () => (await readJobs(database)).get(JOB_ID)?.status === 'DONE');
    const stopped = await eventually(async () => {
      const { rows } = await database.query<{ name: string; failed_event_id: string }>(
        'SELECT name, failed_event_id FROM checkpoints WHERE error IS NOT NULL',
      );
      return rows[0];
    });
    expect(stopped).toEqual({ name: 'job_logs', failed_event_id: bad.id });
    expect(await readLogs(database)).toEqual([]);
  });
});
