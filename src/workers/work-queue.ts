/** Kinds of work that wait in the queue. */
export type WorkKind = 'job' | 'webhook' | 'cancel-finisher';

/** What is to be done, by ids and numbers only: the worker reads everything else from the stream. */
export interface WorkItem {
  readonly kind: WorkKind;
  readonly jobId: string;
  readonly round: number;
  readonly attempt: number;
}

/** An item's place in the queue. The id follows from the item, so the same work is never queued twice. */
export interface WorkEntry extends WorkItem {
  /** Not to be handed out before. */
  readonly dueAt: Date;
}

/** Deterministic id of an item: `job-<id>-<round>-<attempt>`. */
export function workId({ kind, jobId, round, attempt }: WorkItem): string {
  return `${kind}-${jobId}-${round}-${attempt}`;
}

/** What the processing of an item came to: it is done with, or it is wanted again after `againInMs`. */
export type WorkOutcome = { readonly done: true } | { readonly done: false; readonly againInMs: number };

export interface WorkConsumer {
  /** Stops taking items and waits until those in hand have settled. Idempotent. */
  stop(): Promise<void>;
}

/**
 * The queue: a hint of what to do next that may lose everything it holds. What must happen is in `open_work`, what has
 * happened in the event store.
 */
export interface WorkQueue {
  /** Adds entries; one whose id the queue knows already is left as it is. @throws UnavailableError */
  add(entries: readonly WorkEntry[]): Promise<void>;
  /**
   * Those of the items that neither wait, are delayed, nor run. A finished entry that was left of one is removed, so that it
   * can be added. @throws UnavailableError
   */
  missing(items: readonly WorkItem[]): Promise<WorkItem[]>;
  /** The epoch last written into the queue's own storage; null when it holds none. @throws UnavailableError */
  readEpoch(): Promise<bigint | null>;
  /**
   * Writes the next epoch in place of the one that was read, in one step.
   * @returns whether that one was still there; when it was not, the queue has lost data meanwhile, and nothing is written
   * @throws UnavailableError
   */
  replaceEpoch(found: bigint | null, next: bigint): Promise<boolean>;
  /**
   * Hands items out, `concurrency` at a time in this process. An item whose processing throws or whose process dies is
   * handed out again.
   */
  consume(concurrency: number, process: (item: WorkItem) => Promise<WorkOutcome>): WorkConsumer;
  close(): Promise<void>;
}
