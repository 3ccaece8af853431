import { randomUUID } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startProjector } from '../../src/projections/projector.ts';
import { projections } from '../../src/projections/registry.ts';
import { createJobLogQueries } from '../../src/queries/job-logs.ts';
import { createJobQueries } from '../../src/queries/jobs.ts';
import { createHandlerRegistry } from '../../src/workers/load-handlers.ts';
import { silentLogger } from '../support/database.ts';
import { USER } from '../support/job-spec.ts';
import { eventually } from '../support/waiting.ts';
import { createWorkplace } from '../support/work.ts';

/** Projector, dispatcher and a worker with the handlers of the service. */
async function setup() {
  const workplace = await createWorkplace();
  const { store, database } = workplace;
  const projector = startProjector({
    store,
    database,
    logger: silentLogger,
    holder: randomUUID(),
    projections,
  });
  const handlers = await createHandlerRegistry({
    timeScale: 0,
    concurrency: 1,
    env: {},
    logger: silentLogger,
  });
  onTestFinished(async () => {
    await projector.stop();
    await handlers.close();
  });
  workplace.dispatch();
  return {
    ...workplace,
    handlers,
    jobs: createJobQueries({ database, store }),
    logs: createJobLogQueries(database),
  };
}

describe('a job, from its submission to what the user reads', () => {
  it('is DONE with its result, and its log has the four lines', async () => {
    const { work, handlers, submit, jobs, logs } = await setup();
    await work({}, { handlers });
    const jobId = await submit('send-email', { payload: { to: 'a@example.com', subject: 'Hello' } });
    const job = await eventually(async () => {
      const { jobs: listed } = await jobs.list(USER, { page: 1, limit: 10, status: 'DONE' });
      return listed[0];
    });
    expect(job).toMatchObject({ id: jobId, status: 'DONE', result: { sent: true } });
    expect(await jobs.get(jobId, USER)).toEqual(job);
    const lines = await eventually(async () => {
      const page = await logs.list(jobId, { page: 1, limit: 10 });
      return page.total >= 4 && page.lines;
    });
    expect(lines.map(({ message }) => message)).toEqual([
      'Job started: type=send-email',
      'Status updated to PROCESSING',
      'Processing job type: send-email',
      'Job completed successfully',
    ]);
  });

  it('ends once for each of many jobs, with two workers of which one is stopped under way', async () => {
    const { work, handlers, submit, openQueue, typesOf } = await setup();
    const first = await work({}, { handlers });
    await work({}, { handlers, queue: await openQueue() });
    const ids = await Promise.all(Array.from({ length: 20 }, () => submit('resize-image', { payload: {} })));
    await eventually(async () => (await typesOf(ids[0]!)).length > 1);
    await first.stop();
    const all = await eventually(async () => {
      const types = await Promise.all(ids.map((id) => typesOf(id)));
      return types.every((told) => told.at(-1) === 'JobCompleted') && types;
    }, 25_000);
    for (const told of all) expect(told.filter((type) => type === 'JobCompleted')).toHaveLength(1);
    // A stop costs no attempt.
    expect(all.flat()).not.toContain('JobAttemptFailed');
  });
});
