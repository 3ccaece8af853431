import { isAborted, sleep } from '../abort.ts';
import type { Database, Queryable } from '../database.ts';
import { AppError, errorMessage, UnavailableError } from '../errors.ts';
import { decodeEvent } from '../events/codec.ts';
import type { DomainEvent } from '../events/codec.ts';
import { START } from '../events/event-store.ts';
import type { EventStore, Position, PositionedEvent } from '../events/event-store.ts';
import type { Logger } from '../logger.ts';
import { throttleMarks } from './throttle-marks.ts';

/** A stored event together with what it means to the code of today. */
export interface ConsumedEvent {
  readonly recorded: PositionedEvent;
  readonly event: DomainEvent;
}

/** Something that follows the event store with a checkpoint of its own. */
export interface Consumer {
  /** Its row in `checkpoints`. */
  readonly name: string;
  readonly prefixes: readonly string[];
  /** Most events in one transaction. */
  readonly batchSize?: number;
  /** Writes what the events amount to, in the transaction that also moves the checkpoint. No other effect is allowed. */
  apply(events: readonly ConsumedEvent[], tx: Queryable): Promise<void>;
  /** After the commit of a batch, or when a mark moved the checkpoint: hints and queue entries. */
  committed?(position: Position): Promise<void>;
}

export interface ConsumeOptions {
  readonly store: EventStore;
  readonly database: Database;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** Another process has moved the checkpoint: this one no longer leads. */
export class CheckpointMovedError extends AppError {
  constructor(name: string) {
    super('CHECKPOINT_MOVED', `Another process moves the checkpoint of ${name}`, { name });
  }
}

/** Marks move an idle checkpoint at most this often, so that foreign events cost no writes. */
const MARK_INTERVAL_MS = 1_000;
const RETRY_MS = { first: 100, most: 5_000 };

/**
 * Follows the store from the consumer's checkpoint until the signal: batch, transaction, next. Failures of Postgres
 * or the store are waited out. An event that cannot be applied stops the consumer in front of it: the row in `checkpoints` names it
 * and this function returns.
 * @throws CheckpointMovedError another process took over
 */
export async function consume(consumer: Consumer, options: ConsumeOptions): Promise<void> {
  const { logger, signal } = options;
  for (let failures = 0; !signal.aborted;) {
    try {
      await follow(consumer, options, () => (failures = 0));
      return;
    } catch (error) {
      if (error instanceof CheckpointMovedError || isAborted(signal)) throw error;
      if (!isTransient(error)) {
        await reportStop(consumer, error, options);
        return;
      }
      failures++;
      logger.warn(
        { consumer: consumer.name, failures, reason: errorMessage(error) },
        'Consumer interrupted; retrying',
      );
      const backoff = Math.min(RETRY_MS.first * 2 ** failures, RETRY_MS.most);
      await sleep(backoff * (0.5 + Math.random() / 2), signal);
    }
  }
}

async function follow(consumer: Consumer, options: ConsumeOptions, progressed: () => void): Promise<void> {
  const { store, database, signal } = options;
  let position = await loadCheckpoint(database, consumer.name);
  const subscription = store.subscribe({
    after: position,
    prefixes: consumer.prefixes,
    signal,
    batchSize: consumer.batchSize ?? 500,
  });
  for await (const message of throttleMarks(subscription, MARK_INTERVAL_MS)) {
    if (message.kind === 'events') {
      position = await applyBatch(consumer, message.events, position, database);
    } else if (message.position > position) {
      await moveCheckpoint(database, consumer.name, position, message.position);
      position = message.position;
    } else continue;
    progressed();
    await consumer.committed?.(position);
  }
}

/** The whole batch in one transaction; when it fails for good, one by one, so that only the event at fault is left. */
async function applyBatch(
  consumer: Consumer,
  batch: readonly PositionedEvent[],
  from: Position,
  database: Database,
): Promise<Position> {
  try {
    return await applyTogether(consumer, batch, from, database);
  } catch (error) {
    if (error instanceof CheckpointMovedError || isTransient(error)) throw error;
  }
  let position = from;
  for (const recorded of batch) {
    try {
      position = await applyTogether(consumer, [recorded], position, database);
    } catch (error) {
      if (error instanceof CheckpointMovedError || isTransient(error)) throw error;
      throw new EventNotApplicableError(recorded, error);
    }
  }
  return position;
}

async function applyTogether(
  consumer: Consumer,
  batch: readonly PositionedEvent[],
  from: Position,
  database: Database,
): Promise<Position> {
  const last = batch.at(-1);
  if (!last) return from;
  const events = batch.map((recorded) => ({ recorded, event: decodeEvent(recorded) }));
  await database.transaction(async (tx) => {
    // First, so that a process that no longer leads does no work and the row's lock keeps the next one waiting.
    await moveCheckpoint(tx, consumer.name, from, last.position);
    await consumer.apply(events, tx);
  });
  return last.position;
}

/** A consumer met an event it can do nothing with. */
class EventNotApplicableError extends AppError {
  readonly eventId: string;

  constructor({ id, type, stream, revision, position }: PositionedEvent, cause: unknown) {
    const place = `${type} ${id} (${stream}@${revision}, position ${position.toString()})`;
    super(
      'EVENT_NOT_APPLICABLE',
      `Cannot apply ${place}: ${errorMessage(cause)}`,
      { id, type, stream, revision },
      { cause },
    );
    this.eventId = id;
  }
}

async function loadCheckpoint(database: Queryable, name: string): Promise<Position> {
  await database.query('INSERT INTO checkpoints (name) VALUES ($1) ON CONFLICT DO NOTHING', [name]);
  const { rows } = await database.query<{ position: bigint }>(
    'SELECT position FROM checkpoints WHERE name = $1',
    [name],
  );
  return rows[0]?.position ?? START;
}

async function moveCheckpoint(tx: Queryable, name: string, from: Position, to: Position): Promise<void> {
  const { rowCount } = await tx.query(
    `UPDATE checkpoints SET position = $3, failed_event_id = NULL, error = NULL, updated_at = now()
     WHERE name = $1 AND position = $2`,
    [name, from, to],
  );
  if (rowCount !== 1) throw new CheckpointMovedError(name);
}

async function reportStop(
  consumer: Consumer,
  error: unknown,
  { database, logger }: ConsumeOptions,
): Promise<void> {
  logger.fatal(
    { consumer: consumer.name, err: error },
    `Consumer ${consumer.name} has stopped: ${errorMessage(error)}`,
  );
  const eventId = error instanceof EventNotApplicableError ? error.eventId : null;
  await database.query(
    'UPDATE checkpoints SET failed_event_id = $2, error = $3, updated_at = now() WHERE name = $1',
    [consumer.name, eventId, errorMessage(error)],
  );
}

/**
 * Whether trying the same again may help: the part was away, or Postgres refused for reasons of its own (SQLSTATE
 * classes 08 connection, 40 rollback, 53 resources, 55 lock, 57 intervention, 58 system).
 */
function isTransient(error: unknown): boolean {
  if (error instanceof UnavailableError) return true;
  if (error instanceof AppError || !(error instanceof Error)) return false;
  const code = (error as { code?: unknown }).code;
  if (typeof code !== 'string') return /connection|timeout/i.test(error.message);
  return /^(08|40|53|55|57|58)...$/.test(code) || /^(ECONN|EPIPE|ETIMEDOUT|ENET|EHOST|EAI_)/.test(code);
}
