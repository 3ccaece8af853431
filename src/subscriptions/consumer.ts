import { backoff, isAborted, sleep } from '../waiting.ts';
import type { Awaitable, Database, Queryable, Statement } from '../database.ts';
import { errorMessage } from '../errors.ts';
import { decodeEvent } from '../events/codec.ts';
import type { DomainEvent } from '../events/codec.ts';
import type {
  EventStore,
  Position,
  PositionedEvent,
  SubscribeOptions,
  SubscriptionMessage,
} from '../events/event-store.ts';
import type { Logger } from '../logger.ts';
import { applyBatch, EventNotApplicableError, isTransient } from './apply-batch.ts';
import {
  CheckpointMovedError,
  moveStatement,
  loadCheckpoint,
  moveCheckpoint,
  movedError,
  recordStop,
} from './checkpoints.ts';
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
  /** Takes events as they are stored, those that this build cannot read too: one is decoded when it is looked at. */
  readonly asStored?: boolean;
  /** Nobody waits for what it writes: it takes what gathers in a quarter of a second together. */
  readonly unhurried?: boolean;
  /**
   * Types of events from which nothing follows here: a batch of nothing else has no transaction, and the checkpoint is moved past it later.
   */
  readonly ignores?: readonly string[];
  /**
   * Begins what need not wait for the transaction and does no harm when that fails and the events come again, or when another process
   * has taken over.
   */
  received?(events: readonly ConsumedEvent[]): void;
  /**
   * What the events amount to: statements for the transaction that also moves the checkpoint. No other effect is allowed: the
   * transaction may fail and the same events come again.
   * @param tx reads, in that transaction, what it takes to know them
   */
  apply(events: readonly ConsumedEvent[], tx: Queryable): Awaitable<readonly Statement[]>;
  /**
   * When everything up to a position is committed, or follows from nothing that has to be: for hints and queue entries. What it
   * throws is logged and changes nothing.
   */
  committed?(position: Position): Promise<void>;
}

export interface ConsumeOptions {
  readonly store: EventStore;
  readonly database: Database;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** Marks move an idle checkpoint at most this often, so that foreign events and ignored ones cost few writes. */
const MARK_INTERVAL_MS = 250;
const RETRY_MS = { first: 100, most: 5_000 };
/**
 * After a batch of so many events a consumer rests as long as it took, in proportion after others; milliseconds at most, and those of
 * one that is unhurried.
 */
const REST = { as: 48, most: 100, unhurried: 250 };

/**
 * Follows the store from the consumer's checkpoint until the signal: batch, transaction, next. Failures of Postgres
 * or the store are waited out. An event that cannot be applied stops the consumer in front of it: the row in `checkpoints`
 * names it and this function returns.
 * @throws CheckpointMovedError another process took over
 */
export async function consume(consumer: Consumer, options: ConsumeOptions): Promise<void> {
  const { logger, signal } = options;
  for (let failures = 0; !signal.aborted;) {
    try {
      await follow(consumer, options, () => (failures = 0));
      return;
    } catch (error) {
      if (error instanceof CheckpointMovedError) throw error;
      if (isAborted(signal)) return;
      if (!isTransient(error)) {
        await reportStop(consumer, error, options);
        return;
      }
      failures++;
      logger.warn(
        { consumer: consumer.name, failures, reason: errorMessage(error) },
        'Consumer interrupted; retrying',
      );
      await sleep(backoff(failures, RETRY_MS.first, RETRY_MS.most), signal);
    }
  }
}

async function follow(consumer: Consumer, options: ConsumeOptions, progressed: () => void): Promise<void> {
  const { database, logger, signal } = options;
  const { name, prefixes, batchSize = 500 } = consumer;
  let position = await loadCheckpoint(database, name);
  const after = position;
  const messages = throttleMarks(
    (left) =>
      subscribeTo({ after, prefixes, signal: AbortSignal.any([signal, left]), batchSize }, consumer, {
        ...options,
        passed,
      }),
    MARK_INTERVAL_MS,
  );

  async function moved(to: Position): Promise<void> {
    position = to;
    progressed();
    await passed(to);
  }

  async function passed(to: Position): Promise<void> {
    try {
      await consumer.committed?.(to);
    } catch (error) {
      logger.error({ consumer: name, err: error }, 'What follows a commit failed');
    }
  }

  for await (const message of messages) {
    if (message.kind === 'events') {
      const began = performance.now();
      const reaching = applyBatch(message.events, position, (events, from) =>
        applyTogether(consumer, events, from, database),
      );
      for await (const reached of reaching) await moved(reached);
      // Half a batch or more means a backlog, which has no reason to wait: pages hold events of others, too.
      const rest = restAfter(consumer, message.events.length, performance.now() - began);
      if (rest >= 1 && message.events.length < batchSize / 2) await sleep(rest, signal);
    } else if (message.position > position) {
      await moveCheckpoint(database, name, position, message.position);
      await moved(message.position);
    }
  }
}

/** Like the store's subscription, but of ignored events there is only a mark; whoever is to hear of them hears at once. */
async function* subscribeTo(
  wanted: SubscribeOptions,
  { ignores = [] }: Consumer,
  { store, passed }: ConsumeOptions & { passed: (position: Position) => Promise<void> },
): AsyncGenerator<SubscriptionMessage, void, void> {
  for await (const message of store.subscribe(wanted)) {
    const last = message.kind === 'events' ? message.events.at(-1) : undefined;
    if (message.kind !== 'events' || !message.events.every((event) => isIgnored(event, ignores))) {
      yield message;
    } else if (last !== undefined) {
      await passed(last.position);
      yield { kind: 'caught-up', position: last.position };
    }
  }
}

/** One that this build cannot read is not: whatever it means, the consumer has to stop in front of it. */
function isIgnored(event: PositionedEvent, ignores: readonly string[]): boolean {
  if (!ignores.includes(event.type)) return false;
  try {
    decoded(event);
    return true;
  } catch {
    return false;
  }
}

/**
 * How long to let events gather, in milliseconds. A batch costs nearly the same whatever is in it, and where events come fast, or the
 * machine is busy with other work, fewer and larger ones leave it more to do that with. Single events are not kept waiting.
 * @param events in the last batch
 * @param worked milliseconds it took
 */
function restAfter({ unhurried = false }: Consumer, events: number, worked: number): number {
  return Math.max(Math.min((worked * events) / REST.as, REST.most), unhurried ? REST.unhurried : 0);
}

/** In one transaction. @returns the position of the last of them */
async function applyTogether(
  consumer: Consumer,
  batch: readonly PositionedEvent[],
  from: Position,
  database: Database,
): Promise<Position> {
  const last = batch.at(-1);
  if (!last) return from;
  const events = batch.map(consumer.asStored ? decodedOnDemand : decoded);
  consumer.received?.(events);
  try {
    // The checkpoint first, so that a process that no longer leads writes nothing and the row's lock keeps the next one waiting.
    await database.pipeline(moveStatement(consumer.name, from, last.position), (tx) =>
      consumer.apply(events, tx),
    );
  } catch (error) {
    throw movedError(error, consumer.name);
  }
  return last.position;
}

/** Consumers of a process are given the same events: each is decoded once. */
const decodedEvents = new WeakMap<PositionedEvent, ConsumedEvent>();

/** @throws UndecodableEventError */
export function decoded(recorded: PositionedEvent): ConsumedEvent {
  const before = decodedEvents.get(recorded);
  if (before !== undefined) return before;
  const consumed = { recorded, event: decodeEvent(recorded) };
  decodedEvents.set(recorded, consumed);
  return consumed;
}

/** For those who take events as they are stored. */
export function decodedOnDemand(recorded: PositionedEvent): ConsumedEvent {
  return {
    recorded,
    get event() {
      return decodeEvent(recorded);
    },
  };
}

async function reportStop(
  consumer: Consumer,
  error: unknown,
  { database, logger }: ConsumeOptions,
): Promise<void> {
  const message = errorMessage(error);
  logger.fatal({ consumer: consumer.name, err: error }, `Consumer ${consumer.name} has stopped: ${message}`);
  const event = error instanceof EventNotApplicableError ? error.event : null;
  await recordStop(database, consumer.name, { error: message, event });
}
