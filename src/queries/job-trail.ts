import type { EventStore, RecordedEvent } from '../events/event-store.ts';
import { jobLogStream, jobStream } from '../events/job.ts';
import { webhookId, webhookStream } from '../events/webhook.ts';
import { StreamReader } from './stream-reader.ts';
import { isBefore, roundEnd, startIsAhead } from './trail-order.ts';
import type { TrailKind } from './trail-order.ts';

/** How far a reader of a job's trail has come: the next revision of each stream. */
export interface TrailPlace {
  readonly job: number;
  readonly log: number;
  /** By round, for the rounds whose end has been read: the webhook's next revision, null when no webhook tells of that end. */
  readonly webhooks: readonly (number | null)[];
}

export const TRAIL_START: TrailPlace = { job: 0, log: 0, webhooks: [] };

/** Rounds whose webhooks are in a trail: each of them is one more stream to look at, page by page. */
export const MAX_WEBHOOK_ROUNDS = 1_000;

export interface TrailPage {
  readonly events: readonly RecordedEvent[];
  /** Where the next page begins, also after the last one: what is written later stands there. */
  readonly next: TrailPlace;
  /** Whether there was more when this page was read. */
  readonly more: boolean;
}

export interface TrailPageOptions {
  readonly from: TrailPlace;
  /** Most events to return, from 1. */
  readonly limit: number;
}

/** Bytes of the events' data as JSON after which a page ends. */
const PAGE_BYTES = 1_048_576;
/** Most events of a stream read at a time: those of a webhook hold what was sent. */
const READ = { job: 100, log: 100, webhook: 4 } as const;
/** Webhook streams read at the same time. */
const READS_AT_ONCE = 16;

/**
 * A page of everything that is on record of a job, as it was stored: its own events, what its handler reported, and the attempts
 * to deliver its webhooks.
 *
 * A stream's events come in the stream's order, none before the one it follows from (an execution's reports after its start, a
 * webhook's attempts after the end they tell of), else by time and then as `trail-order.ts` has it. Where a page begins and what
 * the streams hold decides what is in it, so page after page gives every event once; what is stored after a page was read comes in
 * a later one, whatever its time.
 */
export async function readTrail(
  store: EventStore,
  jobId: string,
  { from, limit }: TrailPageOptions,
): Promise<TrailPage> {
  const trail = new Trail(store, jobId, from, limit);
  const events: RecordedEvent[] = [];
  let bytes = 0;
  while (events.length < limit && bytes < PAGE_BYTES) {
    const event = await trail.take();
    if (event === null) return { events, next: trail.place, more: false };
    events.push(event);
    bytes += Buffer.byteLength(JSON.stringify(event.data));
  }
  return { events, next: trail.place, more: await trail.hasMore() };
}

/** The whole trail. Memory does not grow with its length. */
export async function* wholeTrail(
  store: EventStore,
  jobId: string,
): AsyncGenerator<RecordedEvent, void, void> {
  let from = TRAIL_START;
  for (let more = true; more;) {
    const page = await readTrail(store, jobId, { from, limit: 500 });
    yield* page.events;
    ({ next: from, more } = page);
  }
}

interface Source {
  readonly kind: TrailKind;
  readonly reader: StreamReader;
}

/** The streams of a job, merged. */
class Trail {
  readonly #store: EventStore;
  readonly #jobId: string;
  readonly #job: Source;
  readonly #log: Source;
  readonly #webhooks: (Source | null)[];
  readonly #pageSize: (kind: TrailKind) => number;

  constructor(store: EventStore, jobId: string, from: TrailPlace, limit: number) {
    this.#store = store;
    this.#jobId = jobId;
    // One more than fits on the page tells whether there is more.
    this.#pageSize = (kind) => Math.min(READ[kind], limit + 1);
    const job = this.#open('job', jobStream(jobId), from.job);
    // A start is stored before what its execution reports: looked up afterwards, it is found.
    this.#log = this.#open('log', jobLogStream(jobId), from.log, () => job.reader.lookAgain());
    this.#job = job;
    this.#webhooks = from.webhooks.map((next, index) =>
      next === null ? null : this.#openWebhook(index + 1, next),
    );
  }

  get place(): TrailPlace {
    return {
      job: this.#job.reader.next,
      log: this.#log.reader.next,
      webhooks: this.#webhooks.map((source) => source?.reader.next ?? null),
    };
  }

  async hasMore(): Promise<boolean> {
    return (await this.#first()) !== null;
  }

  /** The next event; null at the end. */
  async take(): Promise<RecordedEvent | null> {
    const source = await this.#first();
    if (source === null) return null;
    const event = source.reader.take();
    const end = source.kind === 'job' ? roundEnd(event) : null;
    if (end !== null && end.round <= MAX_WEBHOOK_ROUNDS) {
      while (this.#webhooks.length < end.round) this.#webhooks.push(null);
      this.#webhooks[end.round - 1] = end.told ? this.#openWebhook(end.round, 0) : null;
    }
    return event;
  }

  /** The stream whose next event is the trail's; null when all are at their end. */
  async #first(): Promise<Source | null> {
    await this.#load();
    const webhooks = this.#webhooks.filter((source) => source !== null);
    const first = earliest([this.#job, this.#log, ...webhooks]);
    const report = first?.kind === 'log' ? first.reader.head : null;
    if (report === null || !(await startIsAhead(report, this.#job.reader.ahead()))) return first;
    return earliest([this.#job, ...webhooks]);
  }

  async #load(): Promise<void> {
    const due = this.#webhooks.flatMap((source) =>
      source === null || source.reader.loaded ? [] : [source.reader],
    );
    for (let n = 0; n < due.length; n += READS_AT_ONCE) {
      await Promise.all(due.slice(n, n + READS_AT_ONCE).map((reader) => reader.load()));
    }
    await this.#log.reader.load();
    await this.#job.reader.load();
  }

  #openWebhook(round: number, from: number): Source {
    return this.#open('webhook', webhookStream(webhookId(this.#jobId, round)), from);
  }

  #open(kind: TrailKind, stream: string, from: number, onFetch?: () => void): Source {
    const options = { stream, from, pageSize: this.#pageSize(kind), ...(onFetch && { onFetch }) };
    return { kind, reader: new StreamReader(this.#store, options) };
  }
}

/** @param sources the first of those that tie wins */
function earliest(sources: readonly Source[]): Source | null {
  let first: Source | null = null;
  let head: RecordedEvent | null = null;
  for (const source of sources) {
    const candidate = source.reader.head;
    if (candidate === null) continue;
    if (first === null || head === null || isBefore(candidate, source.kind, head, first.kind)) {
      first = source;
      head = candidate;
    }
  }
  return first;
}
