import { EventEmitter } from 'node:events';

/** An event as the double keeps it: bytes as they came. */
export interface LoggedEvent {
  readonly stream: string;
  readonly revision: number;
  readonly id: string;
  readonly type: string;
  readonly contentType: string;
  readonly data: Uint8Array;
  readonly metadata: Uint8Array;
  /** Commit and prepare position alike. */
  readonly position: bigint;
  /** Milliseconds since the epoch. */
  readonly created: number;
}

export type Proposed = Pick<LoggedEvent, 'id' | 'type' | 'contentType' | 'data' | 'metadata'>;

/** -1: no stream, -2: any, -4: the stream exists. */
export type Expected = number;
export const NO_STREAM = -1;
export const ANY = -2;
export const STREAM_EXISTS = -4;

export type AppendOutcome =
  | { readonly kind: 'appended'; readonly revision: number; readonly position: bigint | null }
  | { readonly kind: 'wrong-expected-version'; readonly current: number };

/** How many bytes of ids the server remembers for appends that expect nothing. */
const REMEMBERED_BYTES = 8 * 1024 * 1024;
/** A log record is longer than its event. */
const RECORD_BYTES = 120;

/**
 * The log of the double, in memory, with the rules of the real one: positions are byte offsets, a write is checked against
 * its expectation and, when that lies behind, against the ids that stand there.
 */
export class EventLog extends EventEmitter<{ appended: [] }> {
  /** In order of position. */
  readonly all: LoggedEvent[] = [];
  readonly #streams = new Map<string, LoggedEvent[]>();
  readonly #positions = new Set<bigint>();
  #remembered = new Map<string, LoggedEvent>();
  #rememberedBytes = 0;
  #end = 480n;
  readonly #keep: (events: readonly LoggedEvent[]) => void;

  /** @param keep has put the events of a write where they outlive the process when it returns */
  constructor(keep: (events: readonly LoggedEvent[]) => void = () => undefined) {
    super();
    this.setMaxListeners(0);
    this.#keep = keep;
    // A new server is not empty either.
    const data = Buffer.from('{"loginName":"admin"}');
    const user = { contentType: 'application/json', data, metadata: Buffer.alloc(0) };
    this.#write('$user-admin', [
      { ...user, id: 'a'.repeat(8) + '-0000-4000-8000-000000000001', type: '$UserCreated' },
    ]);
  }

  stream(name: string): readonly LoggedEvent[] {
    return this.#streams.get(name) ?? [];
  }

  /** Whether a record begins there, also one whose event has been removed since. */
  hasRecord(position: bigint): boolean {
    return this.#positions.has(position);
  }

  append(stream: string, expected: Expected, events: readonly Proposed[]): AppendOutcome {
    const current = this.stream(stream).length - 1;
    const refused = { kind: 'wrong-expected-version', current } as const;
    if (expected === STREAM_EXISTS && current < 0) return refused;
    if (expected === ANY || expected === STREAM_EXISTS) {
      const known = events
        .map(({ id }) => this.#remembered.get(id))
        .map((e) => (e?.stream === stream ? e : undefined));
      if (known[0] !== undefined) {
        const last = known.at(-1);
        return known.every((event) => event !== undefined) && last ? alreadyThere(last) : refused;
      }
    } else if (expected < current) {
      const standing = this.stream(stream).slice(expected + 1, expected + 1 + events.length);
      const last = standing.at(-1);
      const same = standing.length === events.length && events.every(({ id }, i) => standing[i]?.id === id);
      return same && last ? alreadyThere(last) : refused;
    } else if (expected > current) {
      return refused;
    }
    const written = this.#write(stream, events);
    this.#keep(written);
    this.emit('appended');
    const last = written.at(-1)!;
    return { kind: 'appended', revision: last.revision, position: last.position };
  }

  /** Puts an event back in its place, after everything that stood before it. */
  restore(event: LoggedEvent): void {
    this.#end = event.position;
    this.#write(event.stream, [event], event.created);
  }

  /** As a scavenge does: gone from `$all` and from its stream. */
  remove(event: LoggedEvent): void {
    this.all.splice(this.all.indexOf(event), 1);
    const stream = this.#streams.get(event.stream);
    stream?.splice(stream.indexOf(event), 1);
  }

  /** As a restart does: ids of appends that expected nothing are no longer known. */
  forgetIds(): void {
    this.#remembered = new Map();
    this.#rememberedBytes = 0;
  }

  #write(name: string, events: readonly Proposed[], created = Date.now()): LoggedEvent[] {
    const stream = this.#streams.get(name) ?? [];
    this.#streams.set(name, stream);
    return events.map((proposed) => {
      const revision = (stream.at(-1)?.revision ?? -1) + 1;
      const last = { ...proposed, stream: name, revision, position: this.#end, created };
      this.#end += BigInt(RECORD_BYTES + proposed.data.length + proposed.metadata.length);
      stream.push(last);
      this.all.push(last);
      this.#positions.add(last.position);
      this.#remember(last);
      return last;
    });
  }

  #remember(event: LoggedEvent): void {
    this.#remembered.set(event.id, event);
    this.#rememberedBytes += event.data.length;
    for (const [id, oldest] of this.#remembered) {
      if (this.#rememberedBytes <= REMEMBERED_BYTES) return;
      this.#remembered.delete(id);
      this.#rememberedBytes -= oldest.data.length;
    }
  }
}

/** The real server often has no position to give for a write that it recognises. */
function alreadyThere({ revision }: LoggedEvent): AppendOutcome {
  return { kind: 'appended', revision, position: null };
}
