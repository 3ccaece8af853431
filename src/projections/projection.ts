import type { Awaitable, Queryable, Statement } from '../database.ts';
import type { ConsumedEvent } from '../subscriptions/consumer.ts';

/** A read model: rows that follow from events and from nothing else. */
export interface Projection {
  /** Its name, which is also its row in `checkpoints`. */
  readonly name: string;
  /** Its tables; the first one's name is usually the projection's. Nothing else writes to them. */
  readonly tables: readonly string[];
  /** Indexes of them that only readers need and `apply` does not: a rebuild makes them once the rows are there. */
  readonly readIndexes?: readonly string[];
  /** Streams it reads, by the beginning of their names. */
  readonly prefixes: readonly string[];
  /** Takes events as they are stored, those that this build cannot read too; see `Consumer`. */
  readonly asStored?: boolean;
  /** Types of events that change nothing in its tables; see `Consumer`. */
  readonly ignores?: readonly string[];
  /** Nobody who has just done something looks for it here; see `Consumer`. */
  readonly unhurried?: boolean;
  /**
   * What a batch amounts to: statements that write it, for a transaction with the checkpoint. Called once for each event that matters, and
   * for ignored ones among them, in order. Every value in a row must come from the events and rows of its own: a replay has to give the
   * same ones. Tables are named without a schema, since a rebuild fills others of the same names.
   * @param tx reads rows, in the same transaction
   */
  apply(events: readonly ConsumedEvent[], tx: Queryable): Awaitable<readonly Statement[]>;
}
