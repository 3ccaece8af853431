import type { Queryable } from '../database.ts';
import type { Position } from '../events/event-store.ts';
import { UnavailableError } from '../errors.ts';
import { alignWithLive, catchUp, patiently } from './catch-up.ts';
import type { Filling } from './fill.ts';
import type { Maintenance } from './maintenance.ts';
import { identifier } from './table-definitions.ts';
import type { TableDefinition } from './table-definitions.ts';
import { schemaOf } from './versions.ts';

/** How a row of the live read model differs from what the events say. */
export interface RowDifference {
  readonly table: string;
  /** The primary key: columns and values. */
  readonly key: Readonly<Record<string, string | null>>;
  /** `missing`: the events say there is such a row. `extra`: they do not. */
  readonly kind: 'changed' | 'missing' | 'extra';
  /** The columns that differ, of a changed row: values as Postgres prints them. */
  readonly columns: readonly ColumnDifference[];
}

export interface ColumnDifference {
  readonly column: string;
  readonly live: string | null;
  readonly expected: string | null;
}

export interface TableComparison {
  readonly table: string;
  /** Rows that the events amount to. */
  readonly rows: number;
  readonly changed: number;
  readonly missing: number;
  readonly extra: number;
}

export interface Comparison {
  /** Both sides stood here. */
  readonly position: Position;
  readonly tables: readonly TableComparison[];
  /** The first differing rows of each table, by primary key. */
  readonly differences: readonly RowDifference[];
}

/** Most differing rows of a table that are told one by one. */
const MOST_DIFFERENCES = 20;

/** Rows that differ in any way. */
export function differingRows({ tables }: Pick<Comparison, 'tables'>): number {
  return tables.reduce((sum, { changed, missing, extra }) => sum + changed + missing + extra, 0);
}

/**
 * Compares a version with the live read model row by row, both at one position and in one snapshot. The live one is held
 * back only while the version takes the last events up to it, not while rows are compared.
 */
export async function compareWithLive(
  m: Maintenance,
  filling: Filling,
  tables: readonly TableDefinition[],
): Promise<Comparison> {
  await catchUp(m, [filling]);
  return patiently(m, async () =>
    m.database.transaction(async (snapshot) => {
      const position = await takeSnapshot(m, filling, snapshot);
      const compared: TableComparison[] = [];
      const differences: RowDifference[] = [];
      const schema = schemaOf({ projection: filling.projection.name, version: filling.version });
      for (const table of tables) {
        const sides = sidesOf(table, m.liveSchema, schema);
        const counts = await countDifferences(snapshot, sides);
        compared.push({ table: table.table, ...counts });
        if (counts.changed + counts.missing + counts.extra > 0)
          differences.push(...(await listDifferences(snapshot, table, sides)));
      }
      return { position, tables: compared, differences };
    }),
  );
}

/** Begins a transaction that sees the version and the live read model at one position. */
async function takeSnapshot(m: Maintenance, filling: Filling, snapshot: Queryable): Promise<Position> {
  await snapshot.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
  await snapshot.query(`SET LOCAL idle_in_transaction_session_timeout = '5min'`);
  return m.database.transaction(async (tx) => {
    const live = await alignWithLive(m, filling, tx, (work) => m.database.transaction(work));
    // A snapshot is taken by the first statement, which this one is.
    const { rows } = await snapshot.query<{ live: Position; filled: Position }>(
      `SELECT c.position AS live, v.position AS filled FROM checkpoints c
       JOIN projection_versions v ON v.projection = c.name AND v.version = $2 WHERE c.name = $1`,
      [filling.projection.name, filling.version],
    );
    const [seen] = rows;
    if (seen?.live !== live || seen.filled !== live) {
      // Postgres has let go of the checkpoint: we were too slow for it.
      throw new UnavailableError('postgres', 'The live read model could not be held for the comparison');
    }
    return live;
  });
}

/** The pairs of rows with the same key: `live` and `fold`. */
interface Sides {
  readonly pairs: string;
  readonly isMissing: string;
  readonly isExtra: string;
  readonly isChanged: string;
  readonly key: readonly string[];
}

function sidesOf({ table, key }: TableDefinition, liveSchema: string, schema: string): Sides {
  const names = key.map(identifier);
  const [first = ''] = names;
  const name = identifier(table);
  return {
    pairs: `${identifier(liveSchema)}.${name} live FULL JOIN ${identifier(schema)}.${name} fold
            ON ${names.map((column) => `live.${column} = fold.${column}`).join(' AND ')}`,
    isMissing: `live.${first} IS NULL`,
    isExtra: `fold.${first} IS NULL`,
    // As text, because json has no equality, and what is byte for byte the same is the same.
    isChanged: `live.${first} IS NOT NULL AND fold.${first} IS NOT NULL AND (live.*)::text IS DISTINCT FROM (fold.*)::text`,
    key: names,
  };
}

async function countDifferences(
  snapshot: Queryable,
  { pairs, isMissing, isExtra, isChanged }: Sides,
): Promise<Omit<TableComparison, 'table'>> {
  const { rows } = await snapshot.query<Record<'rows' | 'changed' | 'missing' | 'extra', bigint>>(
    `SELECT count(*) FILTER (WHERE NOT ${isExtra}) AS rows, count(*) FILTER (WHERE ${isChanged}) AS changed,
       count(*) FILTER (WHERE ${isMissing}) AS missing, count(*) FILTER (WHERE ${isExtra}) AS extra
     FROM ${pairs}`,
  );
  const [row] = rows;
  return {
    rows: Number(row?.rows),
    changed: Number(row?.changed),
    missing: Number(row?.missing),
    extra: Number(row?.extra),
  };
}

interface DifferenceRow {
  readonly kind: RowDifference['kind'];
  readonly live: readonly (string | null)[];
  readonly fold: readonly (string | null)[];
}

async function listDifferences(
  snapshot: Queryable,
  { table, columns, key }: TableDefinition,
  { pairs, isMissing, isExtra, isChanged, key: keyNames }: Sides,
): Promise<RowDifference[]> {
  const texts = (side: string): string =>
    `ARRAY[${columns.map((column) => `${side}.${identifier(column)}::text`).join(', ')}]`;
  const { rows } = await snapshot.query<DifferenceRow>(
    `SELECT CASE WHEN ${isMissing} THEN 'missing' WHEN ${isExtra} THEN 'extra' ELSE 'changed' END AS kind,
       ${texts('live')} AS live, ${texts('fold')} AS fold
     FROM ${pairs} WHERE ${isMissing} OR ${isExtra} OR (${isChanged})
     ORDER BY ${keyNames.map((column) => `coalesce(live.${column}, fold.${column})`).join(', ')} LIMIT $1`,
    [MOST_DIFFERENCES],
  );
  return rows.map(({ kind, live, fold }) => {
    const known = kind === 'missing' ? fold : live;
    const valueOf = (side: readonly (string | null)[], column: string): string | null =>
      side[columns.indexOf(column)] ?? null;
    return {
      table,
      key: Object.fromEntries(key.map((column) => [column, valueOf(known, column)])),
      kind,
      columns:
        kind === 'changed'
          ? columns
              .map((column) => ({
                column,
                live: valueOf(live, column),
                expected: valueOf(fold, column),
              }))
              .filter((difference) => difference.live !== difference.expected)
          : [],
    };
  });
}
