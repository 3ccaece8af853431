import type { Queryable } from '../../src/database.ts';

/** Secrets by what they are, to be looked for wherever none may be. */
export type Canaries = Readonly<Record<string, string | Buffer>>;

/** Characters by which a value is recognised: messages often quote no more than the beginning of it. */
const ENOUGH = 24;

/** The beginnings of the ways in which a value may stand in a text: as it is, and as bytes are written. */
function formsOf(value: string | Buffer): string[] {
  const bytes = Buffer.from(value);
  const written = (['hex', 'base64', 'base64url'] as const).map((encoding) => bytes.toString(encoding));
  return [...(typeof value === 'string' ? [value] : []), ...written].map((form) => form.slice(0, ENOUGH));
}

/** Which of the canaries stand in a text, each with a few characters of what is around it. */
export function canariesIn(text: string, canaries: Canaries): string[] {
  return Object.entries(canaries).flatMap(([name, value]) => {
    const found = formsOf(value).map((form) => text.indexOf(form));
    const [at] = found.filter((index) => index >= 0);
    return at === undefined ? [] : [`${name}: …${text.slice(Math.max(0, at - 120), at + 60)}…`];
  });
}

/** Everything in a database, as text by table: bytes are written in hex. */
export async function dumpTables(database: Queryable): Promise<Map<string, string>> {
  const { rows: tables } = await database.query<{ name: string }>(
    `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
     WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1`,
  );
  const dump = new Map<string, string>();
  for (const { name } of tables) {
    const { rows } = await database.query<{ row: string }>(`SELECT to_jsonb(t)::text AS row FROM ${name} t`);
    dump.set(name, rows.map(({ row }) => row).join('\n'));
  }
  return dump;
}
