import type { Database, Queryable } from '../../src/database.ts';
import type { EventStore, PositionedEvent } from '../../src/events/event-store.ts';
import type { Projection } from '../../src/projections/projection.ts';
import { projections } from '../../src/projections/registry.ts';
import { createTestDatabase } from './database.ts';
import { consumed } from './histories.ts';
import { everything } from './store.ts';

/** What a projection makes of events, without a checkpoint. */
export function applyTo(
  database: Database,
  projection: Projection,
  events: readonly PositionedEvent[],
): Promise<void> {
  return database.pipeline({ sql: 'SELECT' }, (tx) => projection.apply(events.map(consumed), tx));
}

/** Every row of every read model, as text, by table and key. */
export type Rows = Readonly<Record<string, readonly string[]>>;

export async function rowsOf(database: Queryable, schema = 'public'): Promise<Rows> {
  const tables = projections.flatMap((projection) => projection.tables);
  const found = await Promise.all(
    tables.map(async (table) => {
      const { rows } = await database.query<{ row: string }>(
        `SELECT t::text AS row FROM ${schema}.${table} t ORDER BY 1`,
      );
      return [table, rows.map(({ row }) => row)] as const;
    }),
  );
  return Object.fromEntries(found);
}

/** What a fold of the whole store gives, made in a database of its own, a few events at a time. */
export async function freshRows(store: EventStore): Promise<Rows> {
  await using fresh = await createTestDatabase();
  const events = await everything(store);
  for (const projection of projections) {
    const { prefixes } = projection;
    const wanted = events.filter(({ stream }) => prefixes.some((prefix) => stream.startsWith(prefix)));
    for (let from = 0; from < wanted.length; from += 97) {
      await applyTo(fresh.database, projection, wanted.slice(from, from + 97));
    }
  }
  return await rowsOf(fresh.database);
}

/** Everything there is to the tables of the read models but their rows. */
export async function definitionsOf(database: Queryable): Promise<object[]> {
  const tables = projections.flatMap((projection) => projection.tables);
  const { rows } = await database.query(
    `SELECT c.relname, c.reloptions, c.relacl::text AS rights, c.relpersistence,
       (SELECT json_agg(json_build_array(attname, format_type(atttypid, atttypmod), attnotnull, attstorage, attcompression) ORDER BY attnum)
          FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0) AS columns,
       (SELECT json_agg(json_build_array(conname, pg_get_constraintdef(oid)) ORDER BY conname)
          FROM pg_constraint WHERE conrelid = c.oid) AS constraints,
       (SELECT json_agg(json_build_array(indexname, indexdef) ORDER BY indexname)
          FROM pg_indexes WHERE schemaname = 'public' AND tablename = c.relname) AS indexes
     FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY ($1) ORDER BY 1`,
    [tables],
  );
  return rows;
}
