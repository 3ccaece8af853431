import type { Queryable } from '../database.ts';
import { AppError } from '../errors.ts';
import { CheckpointAheadError } from '../events/event-store.ts';
import type { EventStore, Position } from '../events/event-store.ts';
import type { Projection } from './projection.ts';

type Named = Pick<Projection, 'name'>;

/** A read model that no projector has ever looked after: there is nothing to make a version of. */
class NeverRunError extends AppError {
  constructor(name: string) {
    super(
      'PROJECTION_NEVER_RUN',
      `The projection ${name} has never run: start the service, which fills it from the first event on`,
      { projection: name },
    );
  }
}

/** How far a live read model is, and why it goes no further if it has stopped. */
export interface LivePosition {
  readonly position: Position;
  /** null while all is well. */
  readonly stopped: string | null;
}

/** @throws NeverRunError */
export async function livePosition(database: Queryable, { name }: Named): Promise<LivePosition> {
  const { rows } = await database.query<LivePosition>(
    'SELECT position, error AS stopped FROM checkpoints WHERE name = $1',
    [name],
  );
  const [row] = rows;
  if (!row) throw new NeverRunError(name);
  return row;
}

/** Keeps a live read model where it is until the end of the transaction. @throws NeverRunError */
export async function holdLivePosition(tx: Queryable, { name }: Named): Promise<Position> {
  const { rows } = await tx.query<{ position: Position }>(
    'SELECT position FROM checkpoints WHERE name = $1 FOR UPDATE',
    [name],
  );
  const [row] = rows;
  if (!row) throw new NeverRunError(name);
  return row.position;
}

/** @throws CheckpointAheadError the store lacks events that the read model has: it was restored, or is another one */
export async function assertStoreHolds(
  store: Pick<EventStore, 'head'>,
  positions: readonly Position[],
): Promise<void> {
  const head = await store.head();
  const ahead = positions.find((position) => position > head);
  if (ahead !== undefined) throw new CheckpointAheadError(ahead, head);
}
