import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { eventCodec } from '../../src/events/codec.ts';
import { jobLogStream, jobStream } from '../../src/events/job.ts';
import { webhookStream } from '../../src/events/webhook.ts';
import { runCli } from '../support/cli-process.ts';
import { doubleEnd, postgresEnd } from '../support/copying.ts';
import type { CopyEnd } from '../support/copying.ts';
import { events, execution, JOB_ID } from '../support/job-spec.ts';
import { stored } from '../support/store.ts';

// Processes start slowly on a machine that is busy.
vi.setConfig({ testTimeout: 120_000 });

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(path.join(tmpdir(), 'asyncly-cli-'));
});
afterAll(() => rm(cwd, { recursive: true, force: true }));

const at = (second: number): string => `2026-05-19T10:00:0${second}.000Z`;
const secret = 'private@example.com \u009b31m';

/** A job that was done and whose webhook arrived, and the environment that leads a command to its store. */
async function withJob(
  kind: 'Postgres' | 'EventStoreDB',
  work: (env: Record<string, string>) => Promise<void>,
) {
  const database = await postgresEnd();
  const ends: CopyEnd[] = kind === 'Postgres' ? [database] : [database, await doubleEnd()];
  const [, eventStore] = ends;
  const { store } = eventStore ?? database;
  const origin = { jobId: JOB_ID, round: 1, attempt: 1 };
  try {
    await store.append(
      jobStream(JOB_ID),
      [
        stored(events.created({ payload: { to: secret } }), at(0)),
        stored(events.started(1), at(1)),
        stored(events.completed(1, { webhook: true, result: secret }), at(3)),
      ],
      { expected: 'no_stream' },
    );
    const logged = {
      type: 'JobLogged',
      data: { ...origin, executionId: execution(1), message: secret },
    } as const;
    await store.append(jobLogStream(JOB_ID), [stored(logged, at(2))], { expected: 'any' });
    const told = { url: 'https://example.com/', body: secret, statusCode: 200, success: true, error: null };
    const attempted = { ...origin, ...told, nextAttemptAt: null };
    await store.append(
      webhookStream(`${JOB_ID}-1`),
      [stored({ type: 'WebhookAttempted', data: attempted }, at(4))],
      { expected: 'no_stream' },
    );
    await work({ DATABASE_URL: database.url, ...(eventStore && { EVENTSTORE_URL: eventStore.url }) });
  } finally {
    await Promise.all(ends.map((end) => end.close()));
  }
}

describe.each(['Postgres', 'EventStoreDB'] as const)('asyncly audit job on %s', (kind) => {
  test('prints what happened, in order, and what was in it on demand only', () =>
    withJob(kind, async (env) => {
      const text = await runCli(['audit', 'job', JOB_ID], { cwd, env });
      expect(text).toMatchObject({ code: 0, stderr: '' });
      expect(text.stdout.split('\n')).toEqual([
        `${at(0)}  job-${JOB_ID}@0  JobCreated  system test`,
        `${at(1)}  job-${JOB_ID}@1  JobStarted  system test  round=1 attempt=1 maxAttempts=3`,
        `${at(2)}  jobLog-${JOB_ID}@0  JobLogged  system test  round=1 attempt=1`,
        `${at(3)}  job-${JOB_ID}@2  JobCompleted  system test  round=1 attempt=1`,
        `${at(4)}  webhook-${JOB_ID}-1@0  WebhookAttempted  system test  round=1 attempt=1 statusCode=200`,
        '',
      ]);

      const json = await runCli(['audit', 'job', JOB_ID.toUpperCase(), '--json'], { cwd, env });
      const lines = json.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { type: string });
      expect(lines.map(({ type }) => type)).toEqual([
        'JobCreated',
        'JobStarted',
        'JobLogged',
        'JobCompleted',
        'WebhookAttempted',
      ]);
      expect(lines[0]).toMatchObject({
        stream: `job-${JOB_ID}`,
        revision: 0,
        schemaVersion: eventCodec.currentVersion('JobCreated'),
        occurredAt: at(0),
      });
      expect(json.stdout).not.toContain('private@');

      const full = await runCli(['audit', 'job', JOB_ID, '--data'], { cwd, env });
      expect(full.stdout.match(/private@example.com \\u009b31m/g)).toHaveLength(4);
      // Nothing that a terminal would obey.
      expect(full.stdout).not.toMatch(/(?!\n)\p{Cc}/u);
    }));

  test('prints the job as it was', () =>
    withJob(kind, async (env) => {
      const state = async (...args: string[]): Promise<unknown> => {
        const { code, stdout } = await runCli(['audit', 'job', JOB_ID, '--json', ...args], { cwd, env });
        expect(code).toBe(0);
        return JSON.parse(stdout);
      };
      expect(await state('--at', at(2))).toMatchObject({
        status: 'PROCESSING',
        revision: 1,
        updatedAt: at(1),
      });
      const done = await state('--revision', '2');
      expect(done).toMatchObject({ status: 'DONE', revision: 2 });
      expect(done).not.toHaveProperty('payload');
      expect(await state('--revision', '2', '--data')).toMatchObject({
        payload: { to: secret },
        result: secret,
      });

      const text = await runCli(['audit', 'job', JOB_ID, '--revision', '0', '--data'], { cwd, env });
      expect(text.stdout).toMatch(/^status +"PENDING"$/m);
      expect(text.stdout).not.toContain('\u009b');
    }));

  test('says what is wrong', () =>
    withJob(kind, async (env) => {
      const run = (...args: string[]) => runCli(['audit', 'job', ...args], { cwd, env });
      const other = JOB_ID.replace(/.$/, '2');
      expect(await run(other)).toMatchObject({ code: 1, stdout: '', stderr: 'asyncly: Job not found\n' });
      expect(await run(JOB_ID, '--revision', '9')).toMatchObject({
        code: 1,
        stderr: 'asyncly: The job has no revision 9: it is at revision 2\n',
      });
      const early = await run(JOB_ID, '--at', '2026-05-19T09:00:00+00:00', '--json');
      expect(early.code).toBe(1);
      expect(JSON.parse(early.stdout)).toMatchObject({
        error: { code: 'JOB_STATE_NOT_FOUND', createdAt: at(0) },
      });
      for (const args of [['x'], [JOB_ID, '--at', 'noon'], [JOB_ID, '--at', at(1), '--revision', '1']]) {
        expect(await run(...args)).toMatchObject({ code: 2, stdout: '' });
      }
    }));
});
