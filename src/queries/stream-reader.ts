import type { EventStore, RecordedEvent } from '../events/event-store.ts';

export interface StreamReaderOptions {
  readonly stream: string;
  /** Revision of the first event to read. */
  readonly from: number;
  /** Events asked for at a time. */
  readonly pageSize: number;
  /** Called after each look at the store. */
  readonly onFetch?: () => void;
}

/** Reads one stream forwards, a page at a time, and can look ahead of what has been taken. */
export class StreamReader {
  readonly stream: string;
  readonly #store: EventStore;
  readonly #pageSize: number;
  readonly #onFetch: (() => void) | undefined;
  #next: number;
  #buffer: RecordedEvent[] = [];
  #ended = false;

  constructor(store: EventStore, { stream, from, pageSize, onFetch }: StreamReaderOptions) {
    this.stream = stream;
    this.#store = store;
    this.#next = from;
    this.#pageSize = pageSize;
    this.#onFetch = onFetch;
  }

  /** Revision of the event that is taken next. */
  get next(): number {
    return this.#next;
  }

  /** Whether {@link head} says what the stream has. */
  get loaded(): boolean {
    return this.#ended || this.#buffer.length > 0;
  }

  /** The event that is taken next; null at the stream's end as it was when it was last looked at. */
  get head(): RecordedEvent | null {
    return this.#buffer[0] ?? null;
  }

  /** Makes sure of {@link loaded}. */
  async load(): Promise<void> {
    if (!this.loaded) await this.#fetch();
  }

  take(): RecordedEvent {
    const event = this.#buffer.shift();
    if (!event) throw new Error(`Nothing is left of ${this.stream} to take`);
    this.#next = event.revision + 1;
    return event;
  }

  /** Every event that has not been taken, to the end of the stream. */
  async *ahead(): AsyncGenerator<RecordedEvent, void, void> {
    for (let n = 0; ; n++) {
      if (n === this.#buffer.length && !this.#ended) await this.#fetch();
      const event = this.#buffer[n];
      if (!event) return;
      yield event;
    }
  }

  /** What was the end may be it no longer. */
  lookAgain(): void {
    this.#ended = false;
  }

  async #fetch(): Promise<void> {
    const from = this.#next + this.#buffer.length;
    const page = await this.#store.read(this.stream, { from, limit: this.#pageSize });
    this.#buffer.push(...page);
    this.#ended = page.length < this.#pageSize;
    this.#onFetch?.();
  }
}
