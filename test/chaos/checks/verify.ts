import { z } from 'zod';
import { runCli } from '../../support/cli-process.ts';
import type { Stage } from '../stage.ts';
import type { Violation } from './violation.ts';

const readModels = z.object({
  clean: z.boolean(),
  verified: z.array(
    z.object({ projection: z.string(), differing: z.int(), tables: z.array(z.object({ rows: z.int() })) }),
  ),
});
const seals = z.object({ ok: z.boolean(), events: z.int(), recorded: z.int(), signed: z.unknown() });

export interface Verification {
  readonly violations: readonly Violation[];
  /** Rows of read models that were compared, and events whose hashes were. */
  readonly rows: number;
  readonly events: number;
}

/** What the command line says of the read models and of the seals. */
export async function verifyByCommand({ settings, folder }: Stage): Promise<Verification> {
  const run = async (...args: string[]) => {
    const { code, stdout, stderr } = await runCli([...args, '--json'], { cwd: folder, env: settings });
    return { code, said: stdout.trim(), all: `exit code ${String(code)}: ${stdout}${stderr}`.trim() };
  };
  const [projections, audit] = [await run('projections', 'verify'), await run('audit', 'verify')];
  const models = readModels.safeParse(parsed(projections.said)).data;
  const sealed = seals.safeParse(parsed(audit.said)).data;
  const violations: Violation[] = [];
  if (projections.code !== 0 || models?.clean !== true)
    violations.push({ promise: 'read models are what the events say', particulars: projections.all });
  const isSealed = sealed?.ok === true && sealed.recorded === sealed.events && sealed.signed !== null;
  if (audit.code !== 0 || !isSealed) violations.push({ promise: 'seals are valid', particulars: audit.all });
  const tables = models?.verified.flatMap((one) => one.tables) ?? [];
  return { violations, rows: tables.reduce((sum, { rows }) => sum + rows, 0), events: sealed?.events ?? 0 };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
