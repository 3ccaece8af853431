import type { Database } from '../database.ts';
import { AppError } from '../errors.ts';
import { dropVersionIn } from './drop-version.ts';
import type { Projection } from './projection.ts';
import { loadVersions, renumberLive } from './versions.ts';

/** A projector or dispatcher is at work, and would fill what is emptied from the store it knows. */
export class LeaderAtWorkError extends AppError {
  constructor(leases: readonly string[]) {
    super('LEADER_AT_WORK', `Stop the service first: a process of it is at work as ${leases.join(' and ')}`, {
      leases,
    });
  }
}

/**
 * Empties every read model, the list of open work, and all checkpoints, and drops every version that is not live, in one
 * transaction: the service makes them anew from the first event on. For when the event store behind them has become another one, whose positions are other positions.
 * @throws LeaderAtWorkError
 */
export async function resetReadModels(
  database: Database,
  projections: readonly Pick<Projection, 'name' | 'tables'>[],
): Promise<void> {
  const tables = [...projections.flatMap((projection) => projection.tables), 'open_work', 'checkpoints'];
  await database.transaction(async (tx) => {
    // Whoever wants to lead waits for the end of this transaction.
    await tx.query('LOCK TABLE leases IN EXCLUSIVE MODE');
    const { rows } = await tx.query<{ name: string }>(
      'SELECT name FROM leases WHERE expires_at > clock_timestamp() ORDER BY name',
    );
    if (rows.length > 0) throw new LeaderAtWorkError(rows.map(({ name }) => name));
    // What was made of another store's events is of no use for a rollback, and nothing to go on with.
    for (const version of await loadVersions(tx)) await dropVersionIn(tx, version);
    await renumberLive(
      tx,
      projections.map(({ name }) => name),
    );
    await tx.query(`TRUNCATE ${tables.join(', ')}`);
  });
}
