import { z } from 'zod';
import { SEAL_INTERVAL } from '../../../src/audit/chain.ts';
import type { Database } from '../../../src/database.ts';
import { projections } from '../../../src/projections/registry.ts';
import { runCli } from '../../support/cli-process.ts';
import type { CliExit } from '../../support/cli-process.ts';
import type { Stage } from '../stage.ts';
import type { Violation } from './violation.ts';

const readModels = z.object({
  clean: z.literal(true),
  verified: z.array(z.object({ tables: z.array(z.object({ table: z.string(), rows: z.int() })) })).min(1),
});
const seals = z.object({
  ok: z.literal(true),
  events: z.int(),
  recorded: z.int(),
  signed: z.object({ events: z.int().nonnegative() }),
});

/** How many events the last seal of so many stands after: signatures of seals come at once, one of the head after a minute. */
function lastSeal(events: number): number {
  return events - (events % SEAL_INTERVAL);
}

/** What is said of one half, and how much of it was compared. */
export interface Verdict {
  readonly violations: readonly Violation[];
  readonly compared: number;
}

/** What there is to be compared, counted past the commands. */
export interface Whole {
  /** Events in the streams. */
  readonly events: number;
  /** Rows of the live read models, by table. */
  readonly rows: ReadonlyMap<string, number>;
}

/** What the command line says of the read models and of the seals. */
export async function verifyByCommand(
  { settings, folder }: Stage,
  whole: Whole,
): Promise<{ rows: Verdict; events: Verdict }> {
  const run = (...args: string[]): Promise<CliExit> =>
    runCli([...args, '--json'], { cwd: folder, env: settings });
  const [rows, audit] = await Promise.all([run('projections', 'verify'), run('audit', 'verify')]);
  return { rows: readModelsVerdict(rows, whole.rows), events: sealsVerdict(audit, whole.events) };
}

/** Counts the rows of every table of every read model. */
export async function countRows(database: Database): Promise<Map<string, number>> {
  const tables = projections.flatMap((projection) => projection.tables);
  const counts = await Promise.all(
    tables.map((table) => database.query<{ rows: string }>(`SELECT count(*)::text AS rows FROM "${table}"`)),
  );
  return new Map(tables.map((table, index) => [table, Number(counts[index]?.rows[0]?.rows)]));
}

type Said = Pick<CliExit, 'code' | 'stdout' | 'stderr'>;

/**
 * @param said by `asyncly projections verify --json`
 * @param rows of each table, all of which have to have been compared, and there has to be some
 */
export function readModelsVerdict(said: Said, rows: ReadonlyMap<string, number>): Verdict {
  const promise = 'read models are what the events say';
  const answer = readModels.safeParse(parsed(said.stdout)).data;
  if (said.code !== 0 || answer === undefined) return broken(promise, said);
  const compared = new Map(
    answer.verified.flatMap(({ tables }) => tables.map((one) => [one.table, one.rows])),
  );
  const left = [...rows].filter(([table, count]) => compared.get(table) !== count);
  const sum = [...compared.values()].reduce((all, one) => all + one, 0);
  if (sum > 0 && left.length === 0) return { violations: [], compared: sum };
  const missed = left.map(([table, count]) => `${compared.get(table) ?? 0} of ${count} rows of ${table}`);
  const particulars = `Compared were ${missed.join(', ') || 'no rows at all'}`;
  return { violations: [{ promise, particulars }], compared: sum };
}

/**
 * @param said by `asyncly audit verify --json`, of a store whose last seal has been signed
 * @param events in the streams, all of which have to have been compared
 */
export function sealsVerdict(said: Said, events: number): Verdict {
  const promise = 'seals are valid';
  const answer = seals.safeParse(parsed(said.stdout)).data;
  if (said.code !== 0 || answer === undefined) return broken(promise, said);
  const { recorded, signed, events: compared } = answer;
  const wrong = [
    ...(compared === events && events > 0 ? [] : [`${compared} of ${events} events were compared`]),
    ...(recorded === events ? [] : [`${recorded} of ${events} events have a hash`]),
    ...(signed.events >= lastSeal(events) ? [] : [`only ${signed.events} of ${events} events are signed`]),
  ];
  return { violations: wrong.map((particulars) => ({ promise, particulars })), compared };
}

function broken(promise: string, { code, stdout, stderr }: Said): Verdict {
  const particulars = `exit code ${String(code)}: ${stdout}${stderr}`.trim();
  return { violations: [{ promise, particulars }], compared: 0 };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
