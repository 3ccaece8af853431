import type { Awaitable, Queryable, Statement } from '../database.ts';
import type { EventStore, Position, PositionedEvent } from '../events/event-store.ts';
import { applyBatch } from '../subscriptions/apply-batch.ts';
import { decoded, decodedOnDemand } from '../subscriptions/consumer.ts';
import { backlog } from '../transfer/backlog.ts';
import type { Projection } from './projection.ts';
import { identifier } from './table-definitions.ts';
import { moveVersion, schemaOf } from './versions.ts';

/** A version that is being filled. */
export interface Filling {
  readonly projection: Projection;
  readonly version: number;
  /** Everything up to here is in its tables. */
  position: Position;
}

/** One of {@link fill}'s versions, and how far it is to go. */
export interface FillTarget {
  readonly filling: Filling;
  /** Inclusive. */
  readonly upTo: Position;
}

export interface FillOptions {
  readonly store: EventStore;
  readonly signal: AbortSignal;
  /** Most events in one transaction. */
  readonly batchSize: number;
  /** Runs some work in a transaction that is committed when it resolves. */
  readonly transaction: <T>(work: (tx: Queryable) => Promise<T>) => Promise<T>;
  /** After each batch. @param events of it, each counted once however many versions took it @param position of the last */
  readonly onBatch?: (events: number, position: Position) => void;
}

/**
 * Applies to each version what lies between its position and its target, in order. The store is read once for all of them and
 * each event is decoded once. Rows and position move in one transaction; nothing else hears of it.
 * @throws EventNotApplicableError, CheckpointMovedError when another process fills the same version, the signal's reason
 */
export async function fill(targets: readonly FillTarget[], options: FillOptions): Promise<void> {
  const behind = targets.filter(({ filling, upTo }) => filling.position < upTo);
  const [first] = behind;
  if (!first) return;
  const { store, signal, batchSize, onBatch } = options;
  const batches = backlog(store, {
    after: behind.reduce((least, { filling }) => min(least, filling.position), first.filling.position),
    upTo: behind.reduce((most, { upTo }) => (upTo > most ? upTo : most), first.upTo),
    prefixes: unionOf(behind),
    signal,
    batchSize,
  });
  for await (const batch of batches) {
    const end = batch.at(-1)?.position ?? first.upTo;
    await allOf(
      behind.map(async (target) => {
        // To the end of the batch, so that one which wants few events does not begin from the last of them when it is resumed.
        await advance(target, wantedBy(target, batch), min(end, target.upTo), options);
      }),
    );
    signal.throwIfAborted();
    onBatch?.(batch.length, end);
  }
  await allOf(behind.map(({ filling, upTo }) => mark(filling, upTo, options)));
}

const min = (one: Position, other: Position): Position => (one < other ? one : other);

function unionOf(targets: readonly FillTarget[]): string[] {
  const wanted = targets.map(({ filling }) => filling.projection.prefixes);
  return wanted.some((prefixes) => prefixes.length === 0) ? [] : [...new Set(wanted.flat())];
}

function wantedBy({ filling, upTo }: FillTarget, batch: readonly PositionedEvent[]): PositionedEvent[] {
  const { projection, position: from } = filling;
  const { prefixes } = projection;
  return batch.filter(
    ({ stream, position }) =>
      position > from &&
      position <= upTo &&
      (prefixes.length === 0 || prefixes.some((prefix) => stream.startsWith(prefix))),
  );
}

async function advance(
  { filling }: FillTarget,
  events: readonly PositionedEvent[],
  end: Position,
  options: FillOptions,
): Promise<void> {
  const last = events.at(-1);
  if (!last) return mark(filling, end, options);
  const reaching = applyBatch(events, filling.position, async (some, from) => {
    const consumed = some.map(filling.projection.asStored ? decodedOnDemand : decoded);
    const to = some.at(-1);
    const reached = to === undefined || to === last ? end : to.position;
    await move(filling, from, reached, options, (tx) => filling.projection.apply(consumed, tx));
    return reached;
  });
  for await (const position of reaching) filling.position = position;
}

async function mark(filling: Filling, to: Position, options: FillOptions): Promise<void> {
  if (filling.position >= to) return;
  await move(filling, filling.position, to, options, () => []);
  filling.position = to;
}

/** Moves a version's position, and does the work that belongs to it in the same transaction. */
async function move(
  { projection, version }: Filling,
  from: Position,
  to: Position,
  { transaction }: FillOptions,
  work: (tx: Queryable) => Awaitable<readonly Statement[]>,
): Promise<void> {
  const moved = { projection: projection.name, version };
  await transaction(async (tx) => {
    // The projection finds its tables under the names it knows. There is no need to wait for the disk: rows and position are
    // lost together, and the commit that makes the version live waits for all that was before it.
    await tx.query(
      `SELECT set_config('synchronous_commit', 'off', true),
         set_config('search_path', $1 || ', ' || current_setting('search_path'), true)`,
      [identifier(schemaOf(moved))],
    );
    await moveVersion(tx, moved, from, to);
    for (const { sql, values } of await work(tx)) await tx.query(sql, values);
  });
}

/** Waits for all of them, so that nothing is under way any more when one fails. */
async function allOf(works: readonly Promise<void>[]): Promise<void> {
  const outcomes = await Promise.allSettled(works);
  const rejected = outcomes.find((outcome) => outcome.status === 'rejected');
  if (rejected) throw rejected.reason;
}
