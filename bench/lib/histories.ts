import type pg from 'pg';
import { connect } from './connect.ts';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import { createPostgresEventStore } from '../../src/infrastructure/postgres/event-store.ts';
import { migrate } from '../../src/infrastructure/postgres/migrate.ts';
import { createLogger } from '../../src/logger.ts';
import { projections } from '../../src/projections/registry.ts';
import { writeJobs } from '../../test/support/many-jobs.ts';
import { eventually } from '../../test/support/waiting.ts';
import { startAsyncly } from '../subjects/asyncly.ts';
import type { BenchDatabase, Environment } from './environment.ts';

/** Of `writeJobs`, on average. */
const EVENTS_PER_JOB = 5.6;
const CATCH_UP_MS = 1_200_000;

const kept = new WeakMap<Environment, Map<number, BenchDatabase>>();

/**
 * A database whose store has so many events and whose consumers have all taken them up; nobody is connected to it. It is made once,
 * to be copied.
 */
export async function historyOf(environment: Environment, events: number): Promise<BenchDatabase> {
  const made = kept.get(environment) ?? new Map<number, BenchDatabase>();
  kept.set(environment, made);
  const known = made.get(events);
  if (known) return known;
  process.stderr.write(`Making a history of ${events} events\n`);
  const database = await environment.createDatabase();
  await fillStore(database.url, Math.round(events / EVENTS_PER_JOB));
  const running = await startAsyncly(environment, {
    database: { url: database.url, drop: () => Promise.resolve() },
  });
  try {
    await untilTakenUp(database.url);
  } finally {
    await running.stop();
  }
  // As a store that has grown slowly would be, and so that it is not done in the middle of a measurement.
  await query(database.url, 'VACUUM (FREEZE, ANALYZE)');
  made.set(events, database);
  return database;
}

/** Writes the history of so many jobs through the event store. @returns how many events it came to */
export async function fillStore(url: string, jobs: number): Promise<number> {
  const logger = createLogger('warn', 'stderr');
  await migrate(url, { logger });
  const database = createDatabase({ url, max: 2, applicationName: 'bench', logger });
  const store = createPostgresEventStore({ url, database, logger });
  try {
    return await writeJobs(store, jobs);
  } finally {
    await store.close();
    await database.close();
  }
}

/** Waits until read models and dispatcher stand where the store ends. */
export async function untilTakenUp(url: string): Promise<void> {
  const consumers = [...projections.map(({ name }) => name), 'dispatcher'];
  await eventually(async () => {
    const { rowCount } = await query(
      url,
      'SELECT FROM checkpoints WHERE name = ANY ($1) AND position >= (SELECT max(position) FROM eventstore.events)',
      [consumers],
    );
    return rowCount === consumers.length;
  }, CATCH_UP_MS);
}

async function query(url: string, text: string, values: readonly unknown[] = []): Promise<pg.QueryResult> {
  const client = await connect(url);
  try {
    return await client.query(text, [...values]);
  } finally {
    await client.end();
  }
}
