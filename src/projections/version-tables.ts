import type { Queryable } from '../database.ts';
import { AppError } from '../errors.ts';
import type { Projection } from './projection.ts';
import { identifier, loadDefinitions, SCHEMA_PLACE } from './table-definitions.ts';
import type { IndexDefinition, TableDefinition } from './table-definitions.ts';

/** A table of a projection is not what a version of it can be made of. */
export class UnfitTableError extends AppError {
  constructor(table: string, why: string) {
    super('UNFIT_TABLE', `Table ${table} ${why}`, { table });
  }
}

/** The definitions of a projection's live tables. @throws UnfitTableError one is missing, or has no primary key */
export async function liveTables(
  database: Queryable,
  { tables }: Pick<Projection, 'tables'>,
  liveSchema: string,
): Promise<TableDefinition[]> {
  const found = await loadDefinitions(database, liveSchema, tables);
  return tables.map((table) => {
    const definition = found.get(table);
    if (!definition) throw new UnfitTableError(table, `is not in schema ${liveSchema}`);
    if (definition.key.length === 0) throw new UnfitTableError(table, 'has no primary key');
    return definition;
  });
}

/** The tables in a version's schema, in the order of the live ones; null when they do not take the same rows as those. */
export async function tablesLike(
  database: Queryable,
  live: readonly TableDefinition[],
  schema: string,
): Promise<TableDefinition[] | null> {
  const found = await loadDefinitions(
    database,
    schema,
    live.map(({ table }) => table),
  );
  const tables = live.flatMap(({ table, shape }) => {
    const definition = found.get(table);
    return definition?.shape === shape ? [definition] : [];
  });
  return tables.length === live.length ? tables : null;
}

/** Indexes that one table has and another has not. */
export function indexesBeyond(
  { indexes }: Pick<TableDefinition, 'indexes'>,
  other: Pick<TableDefinition, 'indexes'> | undefined,
): IndexDefinition[] {
  const same = (one: IndexDefinition, two: IndexDefinition): boolean =>
    one.name === two.name && one.create === two.create && one.constraint === two.constraint;
  return indexes.filter((one) => !other?.indexes.some((two) => same(one, two)));
}

/**
 * What else hangs on a projection's tables and would be left behind, or stand in the way, when another version takes their
 * place. @throws UnfitTableError
 */
export async function assertNothingHangsOn(
  database: Queryable,
  { tables }: Pick<Projection, 'tables'>,
  schema: string,
): Promise<void> {
  const { rows } = await database.query<{ table: string; what: string }>(
    `WITH ours AS (
       SELECT c.oid, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE n.nspname = $1 AND c.relname = ANY ($2) AND c.relkind = 'r'
     )
     SELECT o.relname AS table, 'is used by the view ' || r.ev_class::regclass AS what
       FROM ours o JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = o.oid
         AND d.classid = 'pg_rewrite'::regclass
       JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> o.oid
     UNION ALL
     SELECT o.relname, 'has the foreign key ' || k.conname
       FROM ours o JOIN pg_constraint k ON k.contype = 'f' AND o.oid IN (k.conrelid, k.confrelid)
     UNION ALL
     SELECT o.relname, 'has the trigger ' || t.tgname
       FROM ours o JOIN pg_trigger t ON t.tgrelid = o.oid AND NOT t.tgisinternal
     UNION ALL
     SELECT o.relname, 'is in the publication ' || p.pubname
       FROM ours o JOIN pg_publication_rel r ON r.prrelid = o.oid JOIN pg_publication p ON p.oid = r.prpubid
     UNION ALL
     SELECT o.relname, 'has row-level security' FROM ours o JOIN pg_class c ON c.oid = o.oid AND c.relrowsecurity
     UNION ALL
     SELECT o.relname, 'has rights on the column ' || a.attname
       FROM ours o JOIN pg_attribute a ON a.attrelid = o.oid AND a.attacl IS NOT NULL
     UNION ALL
     SELECT o.relname, 'takes default values from the sequence ' || s.oid::regclass
       FROM ours o JOIN pg_attrdef a ON a.adrelid = o.oid
       JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid AND d.refclassid = 'pg_class'::regclass
       JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
     LIMIT 1`,
    [schema, tables],
  );
  const [first] = rows;
  if (first) throw new UnfitTableError(first.table, `${first.what}, which would not follow another version`);
}

export interface CreateOptions {
  readonly liveSchema: string;
  readonly schema: string;
  /** Not written to the log of Postgres: fast, and empty after a crash of it. */
  readonly unlogged: boolean;
  /** Indexes to leave out for now. */
  readonly without: readonly string[];
}

/** Makes empty tables like the live ones, in a schema of their own, with the same rights. */
export async function createTables(
  tx: Queryable,
  live: readonly TableDefinition[],
  { liveSchema, schema, unlogged, without }: CreateOptions,
): Promise<void> {
  await tx.query(`CREATE SCHEMA ${identifier(schema)}`);
  for (const definition of live) {
    const table = identifier(definition.table);
    const name = `${identifier(schema)}.${table}`;
    const { parameters } = definition;
    await tx.query(
      `CREATE ${unlogged ? 'UNLOGGED ' : ''}TABLE ${name}
       (LIKE ${identifier(liveSchema)}.${table} INCLUDING ALL EXCLUDING INDEXES)
       ${parameters.length > 0 ? `WITH (${parameters.join(', ')})` : ''}`,
    );
    await copyRights(tx, `${identifier(liveSchema)}.${table}`, name);
    for (const index of definition.indexes) {
      if (!without.includes(index.name)) await createIndex(tx, schema, definition.table, index);
    }
  }
}

/** A table made LIKE another belongs to who makes it, and others' rights on it are not taken along. */
async function copyRights(tx: Queryable, from: string, to: string): Promise<void> {
  const { rows } = await tx.query<{ privilege: string; grantee: string; grantable: boolean }>(
    `SELECT a.privilege_type AS privilege, a.is_grantable AS grantable,
       CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee
     FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = $1::regclass AND a.grantee <> c.relowner`,
    [from],
  );
  for (const { privilege, grantee, grantable } of rows) {
    await tx.query(`GRANT ${privilege} ON TABLE ${to} TO ${grantee}${grantable ? ' WITH GRANT OPTION' : ''}`);
  }
}

/** Makes the indexes that the live tables have and a version's do not, and drops those that the live ones do not have. */
export async function alignIndexes(
  inTransaction: <T>(work: (tx: Queryable) => Promise<T>) => Promise<T>,
  live: readonly TableDefinition[],
  version: readonly TableDefinition[],
  schema: string,
): Promise<void> {
  for (const [i, definition] of live.entries()) {
    const there = version[i];
    if (!there) continue;
    for (const index of indexesBeyond(there, definition)) {
      await inTransaction((tx) => dropIndex(tx, schema, there.table, index));
    }
    for (const index of indexesBeyond(definition, there)) {
      await inTransaction((tx) => createIndex(tx, schema, there.table, index));
    }
  }
}

async function createIndex(
  tx: Queryable,
  schema: string,
  table: string,
  { name, constraint, create }: IndexDefinition,
): Promise<void> {
  const place = identifier(schema);
  await tx.query(
    constraint === null
      ? create.replace(SCHEMA_PLACE, () => place)
      : `ALTER TABLE ${place}.${identifier(table)} ADD CONSTRAINT ${identifier(name)} ${constraint}`,
  );
}

async function dropIndex(
  tx: Queryable,
  schema: string,
  table: string,
  { name, constraint }: IndexDefinition,
): Promise<void> {
  const place = identifier(schema);
  await tx.query(
    constraint === null
      ? `DROP INDEX ${place}.${identifier(name)}`
      : `ALTER TABLE ${place}.${identifier(table)} DROP CONSTRAINT ${identifier(name)}`,
  );
}
