import type { Queryable } from '../database.ts';
import { AppError } from '../errors.ts';
import type { Position } from '../events/event-store.ts';
import { alignWithLive, patiently } from './catch-up.ts';
import { dropVersionIn } from './drop-version.ts';
import type { Filling } from './fill.ts';
import type { Maintenance } from './maintenance.ts';
import { identifier } from './table-definitions.ts';
import { assertNothingHangsOn, indexesBeyond, liveTables, tablesLike } from './version-tables.ts';
import { exchangeVersions, loadVersions, schemaOf } from './versions.ts';

export interface Swapped {
  /** The number of what was live and is the previous version now. */
  readonly former: number;
  /** Where both of them stood. */
  readonly position: Position;
}

/** The tables of a version are not what the live ones are: a migration has changed those meanwhile. */
export class ShapeChangedError extends AppError {
  constructor(projection: string, version: number, advice: string) {
    super(
      'SHAPE_CHANGED',
      `The tables of ${projection} are not what they were when its version ${version} was made: ${advice}`,
      { projection, version },
    );
  }
}

class SwapBlockedError extends AppError {
  constructor(projection: string, blockers: readonly string[], cause: unknown) {
    const who = blockers.length > 0 ? ` (${blockers.join('; ')})` : '';
    super(
      'SWAP_BLOCKED',
      `The tables of ${projection} are in use for too long${who}. The same command goes on from here.`,
      { projection, blockers },
      { cause },
    );
  }
}

/**
 * How long the live tables are waited for, by attempt: reads that come meanwhile wait behind us. Longer than `deadlock_timeout`
 * in the end, so that an autovacuum lets go.
 */
const PATIENCE = { first: '250ms', later: '2s', laterFrom: 6 };

/**
 * Makes a version that is close behind the live one. In one transaction: the live one is held, the version takes the last
 * events, and their tables change places. What was the previous version is dropped.
 * @throws ShapeChangedError, SwapBlockedError; nothing has changed then
 */
export async function swap(m: Maintenance, filling: Filling): Promise<Swapped> {
  const { projection, version } = filling;
  const incoming = schemaOf({ projection: projection.name, version });
  try {
    return await patiently(m, (attempt) =>
      m.database.transaction(async (tx) => {
        await tx.query(`SET LOCAL lock_timeout = '${PATIENCE.later}'`);
        // Nobody reads these, so that what an autovacuum makes us wait for here keeps no reader waiting.
        await lockTables(tx, incoming, projection.tables);
        // A copy: what this transaction fills is lost with it.
        const position = await alignWithLive(m, { ...filling }, tx, (work) => inSavepoint(tx, work));
        const patience = attempt < PATIENCE.laterFrom ? PATIENCE.first : PATIENCE.later;
        await tx.query(`SET LOCAL lock_timeout = '${patience}'`);
        await lockTables(tx, m.liveSchema, projection.tables);
        await assertFits(tx, m.liveSchema, filling);
        return exchange(tx, m.liveSchema, filling, position);
      }),
    );
  } catch (error) {
    if ((error as { code?: unknown }).code !== '55P03') throw error;
    throw new SwapBlockedError(projection.name, await blockersOf(m, projection.tables), error);
  }
}

/** What it sets is as it was before, whatever comes of it. */
async function inSavepoint<T>(tx: Queryable, work: (tx: Queryable) => Promise<T>): Promise<T> {
  await tx.query('SAVEPOINT work');
  try {
    const result = await work(tx);
    await tx.query('SET LOCAL search_path TO DEFAULT');
    await tx.query('SET LOCAL synchronous_commit TO DEFAULT');
    await tx.query('RELEASE SAVEPOINT work');
    return result;
  } catch (error) {
    // Fails when the connection is lost, which the error says already.
    await tx.query('ROLLBACK TO SAVEPOINT work').catch(() => undefined);
    throw error;
  }
}

async function lockTables(tx: Queryable, schema: string, tables: readonly string[]): Promise<void> {
  const names = tables.map((table) => `${identifier(schema)}.${identifier(table)}`);
  await tx.query(`LOCK TABLE ${names.join(', ')} IN ACCESS EXCLUSIVE MODE`);
}

/** Looks once more, now that nobody can change them. */
async function assertFits(
  tx: Queryable,
  liveSchema: string,
  { projection, version }: Filling,
): Promise<void> {
  const live = await liveTables(tx, projection, liveSchema);
  const incoming = await tablesLike(tx, live, schemaOf({ projection: projection.name, version }));
  const fits = incoming?.every(
    (table, i) =>
      indexesBeyond(table, live[i]).length === 0 && indexesBeyond(live[i] ?? table, table).length === 0,
  );
  if (!fits) throw new ShapeChangedError(projection.name, version, 'call the command again');
  await assertNothingHangsOn(tx, projection, liveSchema);
}

async function exchange(
  tx: Queryable,
  liveSchema: string,
  { projection, version }: Filling,
  position: Position,
): Promise<Swapped> {
  const { name, tables } = projection;
  for (const other of await loadVersions(tx, name)) {
    if (other.state === 'previous' && other.version !== version) await dropVersionIn(tx, other);
  }
  const former = await exchangeVersions(tx, { projection: name, version }, position);
  const outgoing = schemaOf({ projection: name, version: former });
  const incoming = schemaOf({ projection: name, version });
  await tx.query(`CREATE SCHEMA ${identifier(outgoing)}`);
  await moveTables(tx, tables, liveSchema, outgoing);
  await moveTables(tx, tables, incoming, liveSchema);
  await tx.query(`DROP SCHEMA ${identifier(incoming)}`);
  return { former, position };
}

async function moveTables(tx: Queryable, tables: readonly string[], from: string, to: string): Promise<void> {
  for (const table of tables) {
    await tx.query(`ALTER TABLE ${identifier(from)}.${identifier(table)} SET SCHEMA ${identifier(to)}`);
  }
}

/** Who holds a lock on the live tables, in words. */
async function blockersOf(
  { control, liveSchema }: Maintenance,
  tables: readonly string[],
): Promise<string[]> {
  const { rows } = await control.query<{ pid: number; name: string; seconds: number | null }>(
    `SELECT a.pid, a.application_name AS name,
       extract(epoch FROM clock_timestamp() - a.xact_start)::integer AS seconds
     FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
     JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE l.locktype = 'relation' AND l.granted AND n.nspname = $1 AND c.relname = ANY ($2)
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
     GROUP BY 1, 2, 3 ORDER BY 3 DESC NULLS LAST LIMIT 3`,
    [liveSchema, tables],
  );
  return rows.map(
    ({ pid, name, seconds }) =>
      `backend ${pid}${name === '' ? '' : ` of '${name}'`} has held them for ${seconds ?? 0} s`,
  );
}
