import { connect } from '../lib/connect.ts';
import { submit, untilDone } from '../lib/jobs.ts';
import type { Figures, Measured, Scenario } from '../lib/scenario.ts';
import { asyncly } from '../subjects/asyncly.ts';
import type { Running } from '../subjects/subject.ts';

const STAGES = 10;
const STAGE = { quick: 100, usual: 50_000 };
/** The stage from which on memory has to stay as it is: by then everything is loaded and every cache is full. */
const SETTLED = 3;

const nameOf = (stage: number): string => `after ${(stage * STAGE.usual).toLocaleString('en')}`;

interface Sizes {
  readonly events: number;
  readonly readModels: number;
  readonly openWork: number;
}

/** Megabytes on disk, indexes with them. */
async function sizesOf(running: Running): Promise<Sizes> {
  const client = await connect(running.databaseUrl);
  try {
    const { rows } = await client.query<{ events: number; read_models: number; open_work: number }>(
      `SELECT (sum(size) FILTER (WHERE schema = 'eventstore') / 1e6)::float8 AS events,
              (sum(size) FILTER (WHERE schema <> 'eventstore' AND name <> 'open_work') / 1e6)::float8 AS read_models,
              (sum(size) FILTER (WHERE name = 'open_work') / 1e6)::float8 AS open_work
       FROM (
         SELECT schemaname AS schema, relname AS name, pg_total_relation_size(relid) AS size FROM pg_stat_user_tables
       ) tables`,
    );
    const { events, read_models: readModels, open_work: openWork } = rows[0]!;
    return { events, readModels, openWork };
  } finally {
    await client.end();
  }
}

const perMillion = (megabytes: number, jobs: number): number => (megabytes / jobs) * 1e6;

const soaked: Measured = {
  name: asyncly.name,
  async measure(environment, { quick }) {
    const running = await asyncly.start(environment);
    try {
      await running.startWorker(50);
      const before = await sizesOf(running);
      const total = quick ? STAGE.quick : STAGE.usual;
      const figures: Record<string, number> = {};
      for (let stage = 1; stage <= STAGES; stage++) {
        // One user each, so that looking how many are done costs the same every time.
        const user = await running.createUser();
        await Promise.all([submit(running, user, { requests: total }), untilDone(running, user, total)]);
        figures[nameOf(stage)] = running.processes().reduce((sum, each) => sum + each.usage().residentMb, 0);
      }
      return { ...figures, ...(await growth(running, before, total * STAGES)), redis: environment.redisMb() };
    } finally {
      await running.stop();
    }
  },
};

async function growth(running: Running, before: Sizes, jobs: number): Promise<Figures> {
  const after = await sizesOf(running);
  return {
    'events per million': perMillion(after.events - before.events, jobs),
    'read models per million': perMillion(after.readModels - before.readModels, jobs),
    open_work: after.openWork,
  };
}

export const soakScenario: Scenario = {
  name: 'soak',
  title:
    'Resident memory of all processes as 500,000 jobs are done, what the stores take on disk for a million such jobs, open_work then, and the memory of Redis (MB)',
  measured: [soaked],
  targets: [
    {
      text: `memory after 500,000 jobs / after ${(SETTLED * STAGE.usual).toLocaleString('en')}`,
      value: (of) => of(asyncly.name, nameOf(STAGES)) / of(asyncly.name, nameOf(SETTLED)),
      atMost: 1.1,
    },
  ],
};
