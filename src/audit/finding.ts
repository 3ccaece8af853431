import { AppError } from '../errors.ts';
import type { PositionedEvent, RecordedEvent } from '../events/event-store.ts';

/**
 * What is wrong:
 * - `changed`: an event is not the one it was, or an event between two others is not
 * - `missing`: events are not there
 * - `misplaced`: an event is where it does not belong: added, repeated or moved
 * - `unreadable`: something is where an event belongs that is none
 * - `truncated`: the end of a file is not there
 * - `manifest`: what a file says of itself is not so
 * - `records`: what was kept of the events (hashes, seals) was changed, the events perhaps were not
 * - `signature`: a signature is not valid, or not there
 * - `root`: the given root is another one
 */
export type Problem =
  | 'changed'
  | 'missing'
  | 'misplaced'
  | 'unreadable'
  | 'truncated'
  | 'manifest'
  | 'records'
  | 'signature'
  | 'root';

/** The first thing that is wrong with a history. */
export interface Finding {
  readonly problem: Problem;
  /** For people: whole sentences. */
  readonly message: string;
  /** Which event it is, counted from 1 in the order of the store; the first of them when `upTo` is given. */
  readonly number?: number;
  /** The last event it may be, when it cannot be said which one it is. */
  readonly upTo?: number;
  /** Of the file, from 1. */
  readonly line?: number;
  readonly id?: string;
  readonly type?: string;
  readonly stream?: string;
  readonly revision?: number;
  /** In the event store. */
  readonly position?: string;
}

/** A history is not what it was. */
export class TamperedError extends AppError {
  readonly finding: Finding;

  constructor(finding: Finding) {
    super('TAMPERED', finding.message, { ...finding });
    this.finding = finding;
  }
}

/** What a finding says of the event it names. */
export function identify(
  event: RecordedEvent | PositionedEvent,
): Pick<Finding, 'id' | 'type' | 'stream' | 'revision' | 'position'> {
  const { id, type, stream, revision } = event;
  return {
    id,
    type,
    stream,
    revision,
    ...('position' in event && { position: event.position.toString() }),
  };
}

/** An event as a sentence names it. */
export function described({ id, type, stream, revision }: RecordedEvent): string {
  return `${type} ${id} (${stream}@${revision})`;
}

/** `event 7` or `events 7 to 9` */
export function eventsFrom(first: number, last: number): string {
  return first === last ? `event ${first}` : `events ${first} to ${last}`;
}
