import type { Queryable } from '../database.ts';
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

/** @throws CheckpointMovedError it does not stand at `from` any more */
export async function moveCheckpoint(
  tx: Queryable,
  name: string,
  from: Position,
  to: Position,
): Promise<void> {
  const { rowCount } = await tx.query(
    `UPDATE checkpoints SET position = $3, failed_event_id = NULL, error = NULL, updated_at = now()
     WHERE name = $1 AND position = $2`,
    [name, from, to],
  );
  if (rowCount !== 1) throw new CheckpointMovedError(name);
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
