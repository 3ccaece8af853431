import { v7 as uuidv7 } from 'uuid';
import type { CommandContext } from '../commands/handle-command.ts';
import { UnavailableError } from '../errors.ts';
import { encodeEvent } from '../events/codec.ts';
import type { EventStore, NewEvent } from '../events/event-store.ts';
import { jobLogStream } from '../events/job.ts';
import type { Job, JobLogEvent } from '../events/job.ts';
import type { Logger } from '../logger.ts';
import { backoff, sleep } from '../waiting.ts';
import { checkedLogLine, checkedProgress } from './handler.ts';

export interface ExecutionLogOptions {
  readonly store: EventStore;
  readonly job: Pick<Job, 'id' | 'round' | 'attempt'>;
  readonly executionId: string;
  readonly context: CommandContext;
  readonly logger: Logger;
}

/** Reports wait at most this long for company, unless there are {@link FLUSH_AT} of them already. */
const FLUSH_MS = 200;
const FLUSH_AT = 50;
/** Reports that may wait for the store; lines beyond are dropped and counted. */
const MAX_WAITING = 1_000;
/** Bounds of one append; EventStoreDB takes 1 MiB by default. */
const MAX_BATCH_BYTES = 500_000;
const MAX_BATCH_EVENTS = 200;
/** Waits between the tries of an append that met an unavailable store, and tries that are left at the end. */
const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 5_000;
const LAST_TRIES = 5;

interface Waiting {
  readonly event: NewEvent;
  readonly bytes: number;
}

/**
 * What a handler reports during one execution, on its way to the job's log stream: in order, several events an append.
 * Of the progress reported between two appends only the newest is kept. When the handler writes faster than the store
 * takes it, or the store is away, lines beyond the 1,000 that wait are dropped, and the last line says how many.
 * Nothing that goes wrong here fails the job: what cannot be stored is given up with an error in the service's log.
 */
export class ExecutionLog {
  readonly #options: ExecutionLogOptions;
  readonly #closing = new AbortController();
  #waiting: Waiting[] = [];
  /** Taken out of `#waiting` and not yet stored. */
  #inFlight = 0;
  #waitingProgress: Waiting | null = null;
  #dropped = 0;
  #lastOccurredAt = '';
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> | null = null;
  #closed: Promise<void> | null = null;

  constructor(options: ExecutionLogOptions) {
    this.#options = options;
  }

  /** @throws LogLineTooLongError */
  log(message: string): void {
    const line = checkedLogLine(message);
    if (this.#closed !== null) return;
    if (this.#waiting.length + this.#inFlight >= MAX_WAITING) {
      this.#dropped++;
      return;
    }
    this.#add({ type: 'JobLogged', data: { ...this.#origin(), message: line } });
  }

  /** @param percent 0 to 100 @throws RangeError @throws LogLineTooLongError for the note */
  progress(percent: number, note?: string): void {
    const progress = checkedProgress(percent, note);
    if (this.#closed !== null) return;
    const older = this.#waitingProgress;
    if (older !== null) this.#waiting.splice(this.#waiting.lastIndexOf(older), 1);
    this.#waitingProgress = this.#add({ type: 'JobProgressed', data: { ...this.#origin(), ...progress } });
  }

  /** Stores what still waits, trying a few times, and takes nothing more. Never rejects. Idempotent. */
  close(): Promise<void> {
    return (this.#closed ??= this.#finish());
  }

  async #finish(): Promise<void> {
    if (this.#dropped > 0) {
      const message = `${this.#dropped} log lines are missing: the handler wrote faster than they could be stored`;
      this.#add({ type: 'JobLogged', data: { ...this.#origin(), message } });
    }
    this.#closing.abort();
    await this.#flushing;
    await this.#flush();
  }

  #origin(): { jobId: string; round: number; attempt: number; executionId: string } {
    const { job, executionId } = this.#options;
    return { jobId: job.id, round: job.round, attempt: job.attempt, executionId };
  }

  #add(event: JobLogEvent): Waiting {
    const now = new Date().toISOString();
    if (now > this.#lastOccurredAt) this.#lastOccurredAt = now;
    const metadata = { ...this.#options.context, occurredAt: this.#lastOccurredAt };
    const encoded = encodeEvent(event, uuidv7(), metadata);
    const added = { event: encoded, bytes: Buffer.byteLength(JSON.stringify(encoded)) };
    this.#waiting.push(added);
    this.#schedule();
    return added;
  }

  #schedule(): void {
    if (this.#flushing !== null || this.#closing.signal.aborted) return;
    if (this.#waiting.length < FLUSH_AT) {
      this.#timer ??= setTimeout(() => this.#startFlush(), FLUSH_MS);
    } else {
      this.#startFlush();
    }
  }

  #startFlush(): void {
    this.#flushing = this.#flush().finally(() => {
      this.#flushing = null;
      if (this.#waiting.length > 0) this.#schedule();
    });
  }

  /** Stores what waits, one batch after the other, until the rest is worth waiting for company; never rejects. */
  async #flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (let least = 1; this.#waiting.length >= least; least = this.#closing.signal.aborted ? 1 : FLUSH_AT) {
      const batch = this.#takeBatch();
      this.#inFlight = batch.length;
      await this.#store(batch);
      this.#inFlight = 0;
    }
  }

  #takeBatch(): NewEvent[] {
    let bytes = 0;
    const beyond = this.#waiting.findIndex((next, index) => {
      bytes += next.bytes;
      return index >= MAX_BATCH_EVENTS || (index > 0 && bytes > MAX_BATCH_BYTES);
    });
    const batch = this.#waiting.splice(0, beyond === -1 ? this.#waiting.length : beyond);
    if (this.#waitingProgress !== null && batch.includes(this.#waitingProgress)) this.#waitingProgress = null;
    return batch.map(({ event }) => event);
  }

  async #store(batch: readonly NewEvent[]): Promise<void> {
    const { store, job, executionId, logger } = this.#options;
    const closing = this.#closing.signal;
    for (let failures = 0, lastTries = 0; ;) {
      try {
        await store.append(jobLogStream(job.id), batch, { expected: 'any' });
        return;
      } catch (error) {
        failures++;
        if (closing.aborted) lastTries++;
        if (!(error instanceof UnavailableError) || lastTries >= LAST_TRIES) {
          const lost = batch.length + this.#giveUp(error);
          logger.error(
            { err: error, jobId: job.id, executionId, lost },
            'A part of a job log could not be stored',
          );
          return;
        }
      }
      await pause(failures, lastTries, closing);
    }
  }

  /** An unavailable store will not take the rest either: trying each batch to the end would hold up the job's end. */
  #giveUp(error: unknown): number {
    if (!(error instanceof UnavailableError)) return 0;
    return this.#waiting.splice(0).length;
  }
}

/** Waits before the next try, jittered; the close of the log cuts short a wait that began before it. */
async function pause(failures: number, lastTries: number, closing: AbortSignal): Promise<void> {
  const tries = lastTries > 0 ? lastTries : failures;
  const ms = backoff(tries, FIRST_RETRY_MS, LONGEST_RETRY_MS);
  await sleep(ms, lastTries > 0 ? undefined : closing);
}
