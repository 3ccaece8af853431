import { z } from 'zod';
import { runCli } from '../../support/cli-process.ts';
import type { CliExit } from '../../support/cli-process.ts';
import type { Stage } from '../stage.ts';
import type { Violation } from './violation.ts';

const readModels = z.object({
  clean: z.literal(true),
  verified: z.array(z.object({ tables: z.array(z.object({ rows: z.int() })) })).min(1),
});
const seals = z.object({
  ok: z.literal(true),
  events: z.int(),
  recorded: z.int(),
  signed: z.object({ events: z.int() }),
});

/** What is said of one half, and how much of it was compared. */
export interface Verdict {
  readonly violations: readonly Violation[];
  readonly compared: number;
}

/** What the command line says of the read models and of the seals. */
export async function verifyByCommand({
  settings,
  folder,
}: Stage): Promise<{ rows: Verdict; events: Verdict }> {
  const run = (...args: string[]): Promise<CliExit> =>
    runCli([...args, '--json'], { cwd: folder, env: settings });
  const [projections, audit] = await Promise.all([run('projections', 'verify'), run('audit', 'verify')]);
  return { rows: readModelsVerdict(projections), events: sealsVerdict(audit) };
}

type Said = Pick<CliExit, 'code' | 'stdout' | 'stderr'>;

/** @param said by `asyncly projections verify --json` */
export function readModelsVerdict(said: Said): Verdict {
  const answer = readModels.safeParse(parsed(said.stdout)).data;
  if (said.code !== 0 || answer === undefined) return broken('read models are what the events say', said);
  const tables = answer.verified.flatMap((one) => one.tables);
  return { violations: [], compared: tables.reduce((sum, { rows }) => sum + rows, 0) };
}

/** @param said by `asyncly audit verify --json`, of a store that is sealed and signed to its end */
export function sealsVerdict(said: Said): Verdict {
  const answer = seals.safeParse(parsed(said.stdout)).data;
  if (said.code !== 0 || answer?.recorded !== answer?.events || answer === undefined)
    return broken('seals are valid', said);
  return { violations: [], compared: answer.events };
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
