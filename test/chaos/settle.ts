import { SEAL_INTERVAL } from '../../src/audit/chain.ts';
import type { Database } from '../../src/database.ts';
import type { EventStore } from '../../src/events/event-store.ts';
import { projections } from '../../src/projections/registry.ts';
import { eventually } from '../support/waiting.ts';
import { apisOf } from './stage.ts';
import type { Stage } from './stage.ts';

/** Within which everything has to be ready again, and every job ended, once nothing goes wrong any more. */
const RECOVERY_MS = 180_000;
/** Milliseconds that `/readyz` may take, whatever time is left. */
const ANSWER_MS = 5_000;

/** The end of the time that a recovery has, from the call on. @param allowedMs milliseconds; what is promised, unless a test says otherwise */
export function recoveryFromNow(allowedMs = RECOVERY_MS): Deadline {
  const at = performance.now() + allowedMs;
  return { left: () => at - performance.now() };
}

/** One for all that has to be done by then: what comes later has the time that is left. */
export interface Deadline {
  /** Milliseconds; negative when it has passed. */
  left(): number;
}

/** Resolves when every process is up and says that it is ready. @throws with what is not, or was only after the deadline */
export async function untilReady(
  stage: Pick<Stage, 'postgres' | 'members' | 'links'>,
  by: Deadline,
): Promise<void> {
  await inTime('Postgres answers', stage.postgres.ready(), by);
  for (const member of stage.members) await inTime(`${member.name} is up`, member.up(), by);
  for (const api of apisOf(stage)) {
    const ready = eventually(async () => {
      const answer = await fetch(`${api}/readyz`, { signal: AbortSignal.timeout(ANSWER_MS) });
      if (answer.status === 200) return true;
      throw new Error(`/readyz answers ${answer.status}: ${await answer.text()}`);
    }, by.left());
    await ready;
    assertInTime(`${api} is ready`, by);
  }
}

/**
 * Resolves when no work is left, every read model has seen every event and every seal is signed.
 * @throws with what is left, or when it was only done after the deadline
 */
export async function untilSettled(database: Database, store: EventStore, by: Deadline): Promise<void> {
  await eventually(async () => {
    const head = await store.head();
    const { rows } = await database.query<{ left: string }>(
      `SELECT 'work: ' || kind || ' of ' || job_id || ', due ' || due_at AS left FROM open_work
       UNION ALL
       SELECT 'checkpoint of ' || name || ' at ' || position FROM checkpoints
       WHERE position < $1 AND name = ANY($2)
       UNION ALL
       SELECT 'signature of seal ' || number FROM audit_seals
       WHERE number * $3 > (SELECT coalesce(max(events), 0) FROM audit_signatures)`,
      [head, [...projections.map(({ name }) => name), 'dispatcher'], SEAL_INTERVAL],
    );
    if (rows.length === 0) return true;
    throw new Error(
      `${rows.length} are left, of head ${head}: ${rows
        .slice(0, 5)
        .map(({ left }) => left)
        .join('; ')}`,
    );
  }, by.left());
  assertInTime('All work is done', by);
}

async function inTime(what: string, work: Promise<unknown>, by: Deadline): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(tooLate(what)), Math.max(0, by.left()));
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
  assertInTime(what, by);
}

function assertInTime(what: string, by: Deadline): void {
  if (by.left() <= 0) throw tooLate(what);
}

function tooLate(what: string): Error {
  return new Error(`Not in the time that a recovery has: ${what}`);
}
