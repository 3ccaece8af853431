import type { Queryable, Statement } from '../database.ts';
import { AppError } from '../errors.ts';
import { START } from '../events/event-store.ts';
import type { Position } from '../events/event-store.ts';

/** Another process has moved the checkpoint: this one no longer leads. */
export class CheckpointMovedError extends AppError {
  constructor(name: string) {
    super('CHECKPOINT_MOVED', `Another process moves the checkpoint of ${name}`, { name });
  }
}

/** Where a consumer stands; its row is made when there is none. */
export async function loadCheckpoint(database: Queryable, name: string): Promise<Position> {
  await database.query('INSERT INTO checkpoints (name) VALUES ($1) ON CONFLICT DO NOTHING', [name]);
  const { rows } = await database.query<{ position: bigint }>(
    'SELECT position FROM checkpoints WHERE name = $1',
    [name],
  );
  return rows[0]?.position ?? START;
}

/** SQLSTATE of `move_checkpoint`. */
const MOVED = 'AS001';

/** Moves a checkpoint on; it fails with what {@link movedError} knows when the checkpoint does not stand at `from` any more. */
export function moveStatement(name: string, from: Position, to: Position): Statement {
  return { sql: 'SELECT move_checkpoint($1, $2, $3)', values: [name, from, to] };
}

/** The error as the rest of the code knows it. */
export function movedError(error: unknown, name: string): unknown {
  const isMoved = error instanceof Error && (error as { code?: unknown }).code === MOVED;
  return isMoved ? new CheckpointMovedError(name) : error;
}

/** @throws CheckpointMovedError it does not stand at `from` any more */
export async function moveCheckpoint(
  database: Queryable,
  name: string,
  from: Position,
  to: Position,
): Promise<void> {
  const { sql, values } = moveStatement(name, from, to);
  await database.query(sql, values).catch((error: unknown) => {
    throw movedError(error, name);
  });
}

/** What stopped a consumer, and the event it stands in front of if it was one. */
export interface StopReason {
  readonly error: string;
  readonly event: { readonly id: string; readonly position: Position } | null;
}

/** Notes why a consumer has stopped, unless another process is past the event by now. */
export async function recordStop(
  database: Queryable,
  name: string,
  { error, event }: StopReason,
): Promise<void> {
  await database.query(
    `UPDATE checkpoints SET failed_event_id = $2, error = $3, updated_at = now()
     WHERE name = $1 AND ($4::bigint IS NULL OR position < $4)`,
    [name, event?.id ?? null, error, event?.position ?? null],
  );
}
