import { AppError, errorMessage, UnavailableError } from '../errors.ts';
import type { Position, PositionedEvent } from '../events/event-store.ts';
import { CheckpointMovedError } from './checkpoints.ts';

/**
 * The whole batch in one transaction; when it fails for good, one by one, so that only the event at fault is left.
 * Yields the checkpoint after each commit.
 * @param applyTogether applies some events in one transaction, with the checkpoint that moves from a position to theirs
 * @throws EventNotApplicableError naming the event, CheckpointMovedError, or what {@link isTransient} tells
 */
export async function* applyBatch(
  batch: readonly PositionedEvent[],
  from: Position,
  applyTogether: (events: readonly PositionedEvent[], from: Position) => Promise<Position>,
): AsyncGenerator<Position, void, void> {
  const together = await applyTogether(batch, from).catch((error: unknown) => {
    if (error instanceof CheckpointMovedError || isTransient(error)) throw error;
    return null;
  });
  if (together !== null) {
    yield together;
    return;
  }
  let position = from;
  for (const recorded of batch) {
    position = await applyTogether([recorded], position).catch((error: unknown) => {
      if (error instanceof CheckpointMovedError || isTransient(error)) throw error;
      throw new EventNotApplicableError(recorded, error);
    });
    yield position;
  }
}

/** A consumer met an event it can do nothing with. */
export class EventNotApplicableError extends AppError {
  /** Private, because a logged error shows its public fields and the event may hold a user's payload. */
  readonly #event: PositionedEvent;

  constructor(event: PositionedEvent, cause: unknown) {
    const { id, type, stream, revision, position } = event;
    const place = `${type} ${id} (${stream}@${revision}, position ${position.toString()})`;
    super(
      'EVENT_NOT_APPLICABLE',
      `Cannot apply ${place}: ${errorMessage(cause)}`,
      { id, type, stream, revision },
      { cause },
    );
    this.#event = event;
  }

  get event(): PositionedEvent {
    return this.#event;
  }
}

/**
 * Whether trying the same again may help: the part was away, or Postgres refused for reasons of its own (SQLSTATE
 * classes 40 rollback, 55 lock, 58 system).
 */
export function isTransient(error: unknown): boolean {
  if (error instanceof UnavailableError) return true;
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return typeof code === 'string' && /^(40|55|58)[0-9A-Z]{3}$/.test(code);
}
