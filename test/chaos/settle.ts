import type { Database } from '../../src/database.ts';
import type { EventStore } from '../../src/events/event-store.ts';
import { projections } from '../../src/projections/registry.ts';
import { eventually } from '../support/waiting.ts';
import { apisOf } from './stage.ts';
import type { Stage } from './stage.ts';

/** Within which everything has to be ready again, and every job ended, once nothing goes wrong any more. */
const RECOVERY_MS = 180_000;

/** Resolves when every process is up and says that it is ready. @throws with what is not */
export async function untilReady(stage: Stage): Promise<void> {
  await stage.postgres.ready();
  await Promise.all(stage.members.map((member) => member.up()));
  for (const api of apisOf(stage)) {
    await eventually(async () => {
      const answer = await fetch(`${api}/readyz`, { signal: AbortSignal.timeout(5_000) });
      if (answer.status === 200) return true;
      throw new Error(`/readyz answers ${answer.status}: ${await answer.text()}`);
    }, RECOVERY_MS);
  }
}

/** Resolves when no work is left and every read model has seen every event. @throws with what is left */
export async function untilSettled(database: Database, store: EventStore): Promise<void> {
  await eventually(async () => {
    const head = await store.head();
    const { rows } = await database.query<{ left: string }>(
      `SELECT 'work: ' || kind || ' of ' || job_id || ', due ' || due_at AS left FROM open_work
       UNION ALL
       SELECT 'checkpoint of ' || name || ' at ' || position FROM checkpoints
       WHERE position < $1 AND name = ANY($2)`,
      [head, [...projections.map(({ name }) => name), 'dispatcher']],
    );
    if (rows.length === 0) return true;
    throw new Error(
      `${rows.length} are left, of head ${head}: ${rows
        .slice(0, 5)
        .map(({ left }) => left)
        .join('; ')}`,
    );
  }, RECOVERY_MS);
}
