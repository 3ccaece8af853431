import fc from 'fast-check';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { projections } from '../../src/projections/registry.ts';
import { listProjections } from '../../src/projections/status.ts';
import { runCli, spawnCli } from '../support/cli-process.ts';
import type { CliExit, CliProcess } from '../support/cli-process.ts';
import { createMaintained, stores } from '../support/maintaining.ts';
import type { Maintained } from '../support/maintaining.ts';
import { writeJobs } from '../support/many-jobs.ts';
import { freshRows, rowsOf } from '../support/read-models.ts';
import { spawnService } from '../support/service-process.ts';
import { createGate, eventually } from '../support/waiting.ts';

const PATIENCE = 60_000;
/** What a rebuild does to each read model once its events are filled in. */
const STEPS = ['Indexing', 'Comparing', 'Swapping'];
const names = projections.map(({ name }) => name);

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(path.join(tmpdir(), 'asyncly-cli-'));
});
afterAll(() => rm(cwd, { recursive: true, force: true }));

const run = ({ env }: Maintained, ...args: string[]): Promise<CliExit> =>
  runCli(['projections', ...args], { cwd, env });
const spawn = ({ env }: Maintained, ...args: string[]): CliProcess =>
  spawnCli(['projections', ...args], { cwd, env });

async function json(test: Maintained, ...args: string[]): Promise<{ code: number | null; data: unknown }> {
  const { code, stdout } = await run(test, ...args, '--json');
  return { code, data: JSON.parse(stdout) };
}

describe.each(stores)('asyncly projections over %s', (kind) => {
  test(
    'lists, verifies, mends, rolls back and clears up, for people and for programs',
    async () => {
      const maintained = await createMaintained(kind);
      const { database, store } = maintained;
      expect(await json(maintained, 'status')).toMatchObject({
        code: 0,
        data: {
          projections: names.map((name) => ({
            name,
            live: 1,
            state: 'never run',
            position: null,
            lag: null,
          })),
        },
      });
      const neverRun = await run(maintained, 'rebuild', 'jobs');
      expect(neverRun).toMatchObject({ code: 1, stdout: '' });
      expect(neverRun.stderr).toMatch(/^asyncly: The projection jobs has never run/m);

      await writeJobs(store, 12);
      await maintained.project();
      const listed = await run(maintained, 'list');
      expect(listed.stdout).toMatch(
        /^NAME +TABLES +STREAMS +LIVE +KEPT\njobs +jobs, job_totals +job-\* +version 1\n/,
      );
      expect(await json(maintained, 'verify')).toMatchObject({ code: 0, data: { clean: true } });

      const { rows } = await database.query<{ id: string }>(
        `UPDATE jobs SET type = 'another' WHERE id = (SELECT id FROM jobs ORDER BY id LIMIT 1) RETURNING id`,
      );
      const verified = await run(maintained, 'verify', 'jobs');
      expect(verified.code).toBe(1);
      // The jobs, and the totals of as many users.
      expect(verified.stdout).toMatch(
        new RegExp(
          `^jobs: 24 rows at position \\d+, 1 differ:\n  jobs id=${rows[0]!.id} differs\n    type: is "another", should be "[a-z-]+"\n$`,
        ),
      );
      expect(verified.stderr).toMatch(/Filling jobs: 100 %, \d+ events, \d+\/s/);

      const rebuilt = await json(maintained, 'rebuild', 'all');
      expect(rebuilt).toMatchObject({
        code: 0,
        data: { rebuilt: names.map((projection) => ({ projection, version: 2, previous: 1 })) },
      });
      expect(await rowsOf(database)).toEqual(await freshRows(store));
      expect(await json(maintained, 'verify', 'all')).toMatchObject({ code: 0, data: { clean: true } });
      const status = await run(maintained, 'status');
      expect(status.stdout).toMatch(/^jobs +up to date +\d+ +0 +24 {2}2 live, 1 previous$/m);

      const rolledBack = await run(maintained, 'rollback', 'jobs');
      expect(rolledBack).toMatchObject({
        code: 0,
        stdout: 'jobs: version 1 is live again, after 0 events; version 2 is kept.\n',
      });
      expect(await json(maintained, 'discard', 'all')).toMatchObject({
        code: 0,
        data: {
          discarded: expect.arrayContaining([
            { projection: 'jobs', version: 2, state: 'previous' },
          ]) as unknown,
        },
      });
      expect(await json(maintained, 'rollback', 'all')).toMatchObject({
        code: 1,
        data: { error: { code: 'NO_PREVIOUS_VERSION' } },
      });
      expect(await run(maintained, 'rebuild', 'nothing')).toMatchObject({ code: 2, stdout: '' });
      expect(await run(maintained, 'rebuild')).toMatchObject({ code: 2, stdout: '' });
      expect(await run(maintained, 'rebuild', 'jobs', '--batch-size', '0')).toMatchObject({ code: 2 });
    },
    4 * PATIENCE,
  );
});

test(
  'asyncly projections works on the embedded database, beside the service and without it',
  async () => {
    const dataDir = path.join(cwd, 'data');
    const env = { DATA_DIR: dataDir };
    const asyncly = async (...args: string[]): Promise<unknown> => {
      const { code, stdout, stderr } = await runCli(['projections', ...args, '--json'], { cwd, env });
      expect(code, stderr).toBe(0);
      return JSON.parse(stdout);
    };
    const service = spawnService({ ...env, PORT: '0' }, cwd);
    try {
      await service.up();
      // The projector has begun once it has its checkpoints.
      await eventually(async () => {
        const { projections: found } = (await asyncly('status')) as { projections: { state: string }[] };
        return found.every(({ state }) => state !== 'never run');
      }, PATIENCE);
      expect(await asyncly('rebuild', 'all')).toMatchObject({ rebuilt: names.map(() => ({ version: 2 })) });
    } finally {
      await service.end('SIGTERM');
    }
    expect(await asyncly('rollback', 'jobs')).toMatchObject({ rolledBack: [{ version: 1, previous: 2 }] });
    expect(await asyncly('verify')).toMatchObject({ clean: true });
  },
  3 * PATIENCE,
);

describe('asyncly projections rebuild', () => {
  /** Where the events of a rebuild are: the least position of what is being built, null when nothing is. */
  async function building({ database }: Maintained): Promise<bigint | null> {
    const listed = await listProjections(database, projections);
    const positions = listed.flatMap(({ others }) =>
      others.filter(({ state }) => state === 'building').map(({ position }) => position),
    );
    return positions.reduce<bigint | null>((least, p) => (least === null || p < least ? p : least), null);
  }

  test(
    'ends the same after kill -9 at ten random points',
    async () => {
      const maintained = await createMaintained();
      const { database, store } = maintained;
      await writeJobs(store, 400);
      await maintained.project();
      await database.query(`UPDATE jobs SET type = 'another'`);
      const head = await store.head();
      const process = (): CliProcess => spawn(maintained, 'rebuild', 'all', '--batch-size', '20');
      const isAt = async (percent: number): Promise<boolean> =>
        ((await building(maintained)) ?? -1n) * 100n >= head * BigInt(percent);
      // Seven times while events are filled in, each further on, and three times in what comes after it.
      const [percents = []] = fc.sample(
        fc.uniqueArray(fc.integer({ min: 1, max: 97 }), { minLength: 7, maxLength: 7 }),
        { numRuns: 1, seed: 20_261_124 },
      );
      const steps = fc.sample(
        fc.constantFrom(...names.flatMap((name) => STEPS.map((step) => `${step} ${name}`))),
        { numRuns: 3, seed: 20_261_124 },
      );
      const points = [
        ...percents.sort((one, other) => one - other).map((percent) => () => isAt(percent)),
        ...steps.map((step) => (told: string) => told.includes(step)),
      ];
      for (const reached of points) {
        const killed = process();
        await eventually(() => reached(killed.said.stderr), PATIENCE);
        killed.kill('SIGKILL');
        expect((await killed.ended).signal).toBe('SIGKILL');
        // Whatever is live is whole.
        expect((await rowsOf(database))['jobs']).toHaveLength(400);
      }
      const last = await json(maintained, 'rebuild', 'all');
      expect(last.code).toBe(0);
      expect(await rowsOf(database)).toEqual(await freshRows(store));
      expect(await json(maintained, 'verify')).toMatchObject({ code: 0, data: { clean: true } });
    },
    6 * PATIENCE,
  );

  test(
    'is interrupted by Ctrl-C and goes on, and a second one at the same time is refused',
    async () => {
      const maintained = await createMaintained();
      const { database, store } = maintained;
      await writeJobs(store, 300);
      await maintained.project();
      const first = spawn(maintained, 'rebuild', 'jobs', '--batch-size', '5');
      await eventually(async () => ((await building(maintained)) ?? -1n) > 100n, PATIENCE);
      first.kill('SIGINT');
      const interrupted = await first.ended;
      expect(interrupted).toMatchObject({ code: 130, stdout: '' });
      expect(interrupted.stderr).toMatch(/asyncly: Interrupted\n$/);
      const reached = await building(maintained);
      expect(reached).toBeLessThan(await store.head());
      expect((await run(maintained, 'status')).stdout).toMatch(/^jobs .* 1 live, 2 building \d+ %$/m);

      // Somebody reads the live table for as long as this lasts, so that the second call has to wait.
      const reading = createGate();
      const goOn = createGate();
      const reader = database.transaction(async (tx) => {
        await tx.query('SELECT FROM jobs LIMIT 1');
        reading.open();
        await goOn.opened;
      });
      await reading.opened;
      const second = spawn(maintained, 'rebuild', 'jobs', '--json');
      await eventually(() => second.said.stderr.includes('Swapping jobs'), PATIENCE);
      expect(await json(maintained, 'verify')).toMatchObject({
        code: 1,
        data: { error: { code: 'MAINTENANCE_UNDER_WAY' } },
      });
      goOn.open();
      await reader;
      const exit = await second.ended;
      expect(exit.code).toBe(0);
      expect(JSON.parse(exit.stdout)).toMatchObject({
        rebuilt: [{ projection: 'jobs', version: 2, resumedFrom: reached?.toString() }],
      });
      expect(await rowsOf(database)).toEqual(await freshRows(store));
    },
    3 * PATIENCE,
  );
});
