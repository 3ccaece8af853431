import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EventStore, RecordedEvent } from '../../src/events/event-store.ts';
import { jobStream } from '../../src/events/job.ts';
import { jobView } from '../../src/http/routes/job-view.ts';
import { createJobHistory, JobStateNotFoundError, loadJobAt } from '../../src/queries/job-history.ts';
import { openStore, STORE_KINDS } from '../support/both-stores.ts';
import { createTestDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { expectedView } from '../support/job-oracle.ts';
import { events, JOB_ID, USER } from '../support/job-spec.ts';
import { recordHistories, streamsOf } from '../support/recorded-histories.ts';
import type { RecordedJob } from '../support/recorded-histories.ts';
import { stored } from '../support/store.ts';

/** The job's own stream. */
const lifeOf = ({ id, events }: RecordedJob): RecordedEvent[] => streamsOf(events).get(jobStream(id)) ?? [];
const timeOf = ({ metadata }: RecordedEvent): number => Date.parse(metadata.occurredAt);

describe.each(STORE_KINDS)('the past of jobs on %s', (kind) => {
  let testDatabase: TestDatabase;
  let store: EventStore;
  let jobs: RecordedJob[];
  beforeAll(async () => {
    testDatabase = await createTestDatabase();
    store = await openStore(kind, testDatabase);
    const exact = await recordHistories(store, { jobs: 120, seed: 1 });
    // On a coarse clock many events happen at the same time.
    const coarse = await recordHistories(store, {
      jobs: 80,
      seed: 2,
      clock: (time) => time - (time % 10_000),
    });
    jobs = [...exact, ...coarse];
  });
  afterAll(async () => {
    await store.close();
    await testDatabase.drop();
  });

  const viewAt = async (id: string, moment: Parameters<typeof loadJobAt>[2]): Promise<unknown> => {
    const job = await loadJobAt(store, id, moment, USER);
    return job && { revision: job.revision, ...jobView(job) };
  };

  test('is the same at every revision of 200 jobs as by hand', async () => {
    expect(jobs.length).toBeGreaterThanOrEqual(200);
    const statuses = new Set<unknown>();
    for (const job of jobs) {
      const life = lifeOf(job);
      for (const { revision } of life) {
        const expected = expectedView(life.slice(0, revision + 1));
        statuses.add(expected['status']);
        expect(await viewAt(job.id, { revision })).toEqual({ revision, ...expected });
      }
    }
    // The histories go everywhere, or the test would say little.
    expect([...statuses].sort()).toEqual(['CANCELLED', 'DONE', 'FAILED', 'PENDING', 'PROCESSING']);
  });

  test('is at a time what all events up to it make of it', async () => {
    let ties = 0;
    for (const job of jobs.filter((_, n) => n % 2 === 0)) {
      const life = lifeOf(job);
      for (const event of life) {
        for (const at of [timeOf(event) - 1, timeOf(event), timeOf(event) + 1]) {
          const past = life.filter((other) => timeOf(other) <= at);
          if (past.filter((other) => timeOf(other) === at).length > 1) ties++;
          if (past.length === 0) {
            await expect(loadJobAt(store, job.id, { at }, USER)).rejects.toThrow(JobStateNotFoundError);
            continue;
          }
          expect(await viewAt(job.id, { at })).toEqual({ revision: past.length - 1, ...expectedView(past) });
        }
      }
      const future = { at: Date.now() + 86_400_000 };
      expect(await viewAt(job.id, future)).toEqual({ revision: life.length - 1, ...expectedView(life) });
    }
    expect(ties).toBeGreaterThan(30);
  });

  test('does not exist before the creation, nor beyond the newest revision', async () => {
    for (const job of jobs.slice(0, 20)) {
      const life = lifeOf(job);
      const created = life[0]!.metadata.occurredAt;
      await expect(loadJobAt(store, job.id, { at: 0 }, USER)).rejects.toThrow(
        `The job did not exist yet at 1970-01-01T00:00:00.000Z: it was created at ${created}`,
      );
      await expect(loadJobAt(store, job.id, { revision: life.length }, USER)).rejects.toThrow(
        `The job has no revision ${life.length}: it is at revision ${life.length - 1}`,
      );
    }
  });

  test("is the owner's alone, whatever is asked", async () => {
    const history = createJobHistory(store);
    const { id } = jobs[0]!;
    for (const moment of [{ at: 0 }, { at: Date.now() }, { revision: 0 }, { revision: 999 }]) {
      expect(await history.jobAt(id, 'someone-else', moment)).toBeNull();
      expect(await history.jobAt(JOB_ID.replace(/.$/, '9'), USER, moment)).toBeNull();
    }
  });

  test('stays readable before an event that this build cannot read', async () => {
    const known = [
      stored(events.created(), '2026-01-01T00:00:00.000Z'),
      stored(events.started(1), '2026-01-01T00:00:01.000Z'),
    ];
    const [{ metadata, ...created }] = [known[0]!];
    const unknown = {
      ...created,
      type: 'JobBeamed',
      metadata: { ...metadata, occurredAt: '2026-01-01T00:00:02.000Z' },
    };
    await store.append(jobStream(JOB_ID), [...known, unknown], { expected: 'no_stream' });
    expect(await viewAt(JOB_ID, { revision: 1 })).toMatchObject({ status: 'PROCESSING' });
    expect(await viewAt(JOB_ID, { at: Date.parse('2026-01-01T00:00:01.999Z') })).toMatchObject({
      revision: 1,
    });
    await expect(viewAt(JOB_ID, { revision: 2 })).rejects.toThrow('its type is unknown');
  });
});
