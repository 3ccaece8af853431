import type { Queryable } from '../database.ts';
import type { Logger } from '../logger.ts';

/** Begins the names, in `pg_stat_activity`, of all connections that maintain read models. */
const NAME = 'asyncly projections';

/** The name of one process's connections. */
export function maintenanceName(holder: string): string {
  return `${NAME} ${holder}`;
}

/** Cuts off whatever other processes' maintenance is still doing, and waits for its end. */
export async function endOthersConnections(control: Queryable, holder: string): Promise<void> {
  await control.query(
    `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
     WHERE datname = current_database() AND usename = current_user AND starts_with(application_name, $1)
       AND application_name <> $2`,
    [NAME, maintenanceName(holder)],
  );
}

/** Cuts off the statements that this process has under way. Never rejects. */
export async function cancelOwnStatements(control: Queryable, holder: string, logger: Logger): Promise<void> {
  try {
    await control.query(
      `SELECT pg_cancel_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND application_name = $1 AND state = 'active'`,
      [maintenanceName(holder)],
    );
  } catch (error) {
    logger.debug({ err: error }, 'Statements under way not cut off');
  }
}
