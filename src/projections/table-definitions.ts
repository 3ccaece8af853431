import type { Queryable } from '../database.ts';

/** What a table is but for its rows, as Postgres writes it down; names of schemas left out where they are its own. */
export interface TableDefinition {
  readonly table: string;
  /** Columns in order, and checks: two tables that are the same here take the same rows. */
  readonly shape: string;
  readonly columns: readonly string[];
  /** Columns of the primary key, in order. */
  readonly key: readonly string[];
  /** Storage parameters such as `fillfactor=90`. */
  readonly parameters: readonly string[];
  /** Its indexes by name, those of keys and other constraints included. */
  readonly indexes: readonly IndexDefinition[];
}

export interface IndexDefinition {
  readonly name: string;
  /** Of a constraint, such as `PRIMARY KEY (id)`; null for a plain index. */
  readonly constraint: string | null;
  /** `CREATE INDEX …`; the table's schema is written as {@link SCHEMA_PLACE}. */
  readonly create: string;
}

/** Stands for the name of the schema in {@link IndexDefinition.create}. */
export const SCHEMA_PLACE = '$schema$';

interface DefinitionRow {
  readonly table: string;
  readonly schema: string;
  readonly columns: readonly (readonly [name: string, ...rest: unknown[]])[];
  readonly checks: readonly unknown[] | null;
  readonly key: readonly string[] | null;
  readonly parameters: readonly string[] | null;
  readonly indexes: readonly { name: string; constraint: string | null; create: string }[] | null;
}

const DEFINITIONS = `
  SELECT c.relname AS table, quote_ident(n.nspname) AS schema, c.reloptions AS parameters,
    (SELECT json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
              a.attgenerated, a.attcollation, pg_get_expr(d.adbin, d.adrelid)) ORDER BY a.attnum)
       FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
    (SELECT json_agg(json_build_array(k.conname, pg_get_constraintdef(k.oid)) ORDER BY k.conname)
       FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c') AS checks,
    (SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum))
       FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
       WHERE i.indrelid = c.oid AND i.indisprimary) AS key,
    (SELECT json_agg(json_build_object('name', ic.relname, 'constraint', pg_get_constraintdef(k.oid),
              'create', pg_get_indexdef(i.indexrelid)) ORDER BY i.indisprimary DESC, ic.relname)
       FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
       LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
       WHERE i.indrelid = c.oid AND i.indisvalid) AS indexes
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = $1 AND c.relname = ANY ($2) AND c.relkind = 'r'
  ORDER BY c.relname`;

/** The tables of these names in a schema, by name; one that is not there is left out. */
export async function loadDefinitions(
  database: Queryable,
  schema: string,
  tables: readonly string[],
): Promise<Map<string, TableDefinition>> {
  const { rows } = await database.query<DefinitionRow>(DEFINITIONS, [schema, tables]);
  return new Map(rows.map((row) => [row.table, definitionFrom(row)]));
}

function definitionFrom(row: DefinitionRow): TableDefinition {
  const place = ` ON ${row.schema}.`;
  return {
    table: row.table,
    shape: JSON.stringify([row.columns, row.checks ?? []]),
    columns: row.columns.map(([name]) => name),
    key: row.key ?? [],
    parameters: [...(row.parameters ?? [])].sort(),
    indexes: (row.indexes ?? []).map((index) => ({
      ...index,
      create: index.create.replace(place, () => ` ON ${SCHEMA_PLACE}.`),
    })),
  };
}

/** A name as SQL takes it. */
export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
