import { AppError } from '../errors.ts';
import { WrongExpectedRevisionError } from '../events/event-store.ts';
import type { EventStore, Position, PositionedEvent } from '../events/event-store.ts';
import { compareStores, eventsAfter } from './compare-stores.ts';
import type { ComparedStore, Comparison } from './compare-stores.ts';

export interface CopySource extends ComparedStore {
  /** For messages. */
  readonly name: string;
}

export interface CopyTarget extends CopySource {
  /** Appends asked for in the same turn become durable together, in the order in which they were asked for. */
  readonly appendsTogether: boolean;
}

/** `compare` looks at what is there already, `verify` reads everything once more. */
export type CopyPhase = 'compare' | 'copy' | 'verify';

export interface CopyProgress {
  readonly phase: CopyPhase;
  /** Events of this phase so far. */
  readonly events: number;
  /** How much of this phase is done, 0 to 1. */
  readonly fraction: number;
}

export interface CopyOptions {
  readonly from: CopySource;
  readonly to: CopyTarget;
  /** Ends it between two appends; the same copy goes on from there another time. */
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: CopyProgress) => void;
}

export interface CopyReport {
  /** Written by this call. */
  readonly copied: number;
  /** In the target now, and the same as in the source. */
  readonly events: number;
  readonly streams: number;
  /** Hex SHA-256 over all of them. */
  readonly sha256: string;
}

/** The target is not a beginning of the source. */
export class TargetDiffersError extends AppError {
  constructor(to: string, from: string, { events, next }: Comparison) {
    const where = next.target && `${next.target.stream}@${next.target.revision}`;
    super(
      'TARGET_DIFFERS',
      `${to} holds other events than ${from}: after ${events} common ones comes ${where ?? 'nothing'}. Copy into an empty store`,
      { common: events, stream: next.target?.stream ?? null, revision: next.target?.revision ?? null },
    );
  }
}

/** A stream of the target is not where the copy has brought it. */
export class CopyConflictError extends AppError {
  constructor(error: WrongExpectedRevisionError) {
    super(
      'COPY_CONFLICT',
      `${error.message} in the target: somebody else writes to it, or the source's stream has lost events`,
      error.data,
      { cause: error },
    );
  }
}

/** What was read back is not what the source holds. */
export class CopyNotVerifiedError extends AppError {
  constructor({ events, next }: Comparison) {
    const place = next.source ?? next.target;
    super(
      'COPY_NOT_VERIFIED',
      `The copy is not the same as its source: it differs after ${events} events` +
        (place ? `, at ${place.stream}@${place.revision}` : ''),
      { common: events },
    );
  }
}

/** Most of one append, and of the appends asked for together: within what either store takes in one piece. */
const APPEND = { events: 100, bytes: 512 * 1024 };
const TOGETHER = { appends: 400, bytes: 2 * 1024 * 1024 };

/**
 * Copies every event of the source that is there now, in the source's order, with ids and revisions as they are, and then
 * compares the two stores. The target must be empty or hold what an earlier copy of this source brought there; so a copy that
 * was interrupted, at whatever point, is taken up by calling this again.
 * @throws TargetDiffersError, CopyConflictError, CopyNotVerifiedError, UnavailableError, or the signal's reason
 */
export async function copyEvents({ from, to, signal, onProgress }: CopyOptions): Promise<CopyReport> {
  const upTo = await from.store.head();
  const compare = (phase: 'compare' | 'verify'): Promise<Comparison> => {
    const report = reporter(phase, -1n, upTo, onProgress);
    return compareStores({
      source: from,
      upTo,
      target: to,
      signal,
      onEvent: (position) => report(1, position),
    });
  };

  const found = await compare('compare');
  if (found.next.target !== null) throw new TargetDiffersError(to.name, from.name, found);
  let copied = 0;
  const report = reporter('copy', found.position, upTo, onProgress);
  for await (const batch of eventsAfter(from, { after: found.position, upTo, signal })) {
    for (const portion of portions(batch, to.appendsTogether)) {
      signal.throwIfAborted();
      await write(to.store, portion);
      const written = portion.flat();
      copied += written.length;
      report(written.length, written.at(-1)?.position ?? upTo);
    }
  }
  const verified = await compare('verify');
  if (verified.next.source !== null || verified.next.target !== null) {
    throw new CopyNotVerifiedError(verified);
  }
  const { events, streams, sha256 } = verified;
  return { copied, events, streams, sha256 };
}

/** Consecutive events of one stream: one append. */
type Run = PositionedEvent[];

/** What is written at a time: one append, or several for a store that makes them durable together. */
function* portions(batch: readonly PositionedEvent[], together: boolean): Generator<Run[]> {
  let portion: Run[] = [];
  let bytes = 0;
  for (const run of runs(batch)) {
    const size = run.reduce((sum, event) => sum + sizeOf(event), 0);
    const full = portion.length === TOGETHER.appends || bytes + size > TOGETHER.bytes;
    if (portion.length > 0 && (!together || full)) {
      yield portion;
      portion = [];
      bytes = 0;
    }
    portion.push(run);
    bytes += size;
  }
  if (portion.length > 0) yield portion;
}

function* runs(batch: readonly PositionedEvent[]): Generator<Run> {
  let run: Run = [];
  let bytes = 0;
  for (const event of batch) {
    const size = sizeOf(event);
    const last = run.at(-1);
    const goesOn =
      last !== undefined &&
      last.stream === event.stream &&
      last.revision + 1 === event.revision &&
      run.length < APPEND.events &&
      bytes + size <= APPEND.bytes;
    if (!goesOn && run.length > 0) {
      yield run;
      run = [];
      bytes = 0;
    }
    run.push(event);
    bytes += size;
  }
  if (run.length > 0) yield run;
}

function sizeOf({ data, metadata }: PositionedEvent): number {
  return Buffer.byteLength(JSON.stringify(data)) + Buffer.byteLength(JSON.stringify(metadata));
}

async function write(store: EventStore, portion: readonly Run[]): Promise<void> {
  const outcomes = await Promise.allSettled(portion.map((run) => append(store, run)));
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (!failed) return;
  throw failed.reason instanceof WrongExpectedRevisionError
    ? new CopyConflictError(failed.reason)
    : failed.reason;
}

async function append(store: EventStore, run: Run): Promise<void> {
  const [first] = run;
  if (!first) return;
  const events = run.map(({ id, type, data, metadata }) => ({ id, type, data, metadata }));
  await store.append(first.stream, events, {
    expected: first.revision === 0 ? 'no_stream' : first.revision - 1,
  });
}

function reporter(
  phase: CopyPhase,
  after: Position,
  upTo: Position,
  onProgress: CopyOptions['onProgress'],
): (events: number, position: Position) => void {
  let events = 0;
  return (more, position) => {
    events += more;
    onProgress?.({ phase, events, fraction: Number(position - after) / Math.max(1, Number(upTo - after)) });
  };
}
