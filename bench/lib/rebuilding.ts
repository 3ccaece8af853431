import { z } from 'zod';
import { runToEnd } from './processes.ts';

const rebuilt = z.object({ events: z.number(), eventsPerSecond: z.number(), seconds: z.number() });
const verified = z.object({ clean: z.boolean() });

/** A rebuild of all read models. */
export type Rebuild = z.infer<typeof rebuilt>;

/**
 * Has `asyncly projections rebuild all` make every read model anew.
 * @param dataDir a directory that it may have for itself
 * @throws with what it said when it fails
 */
export async function rebuildAll(url: string, dataDir: string): Promise<Rebuild> {
  return rebuilt.parse(await projectionsCommand('rebuild', url, dataDir));
}

/** Whether every row of the read models is what the events say. */
export async function verifyAll(url: string, dataDir: string): Promise<boolean> {
  return verified.parse(await projectionsCommand('verify', url, dataDir)).clean;
}

async function projectionsCommand(command: string, url: string, dataDir: string): Promise<unknown> {
  const args = ['projections', command, 'all', '--json'];
  const environment = { DATABASE_URL: url, DATA_DIR: dataDir };
  // Rows that differ make it fail as well, and are in its report.
  const { code, stdout, stderr } = await runToEnd('src/cli/asyncly.js', args, environment);
  if (stdout === '') throw new Error(`asyncly ${args.join(' ')} ended with ${code}: ${stderr}`);
  const report = JSON.parse(stdout) as { error?: { message: string } };
  if (report.error) throw new Error(report.error.message);
  return report;
}
