import { setImmediate as nextTurn } from 'node:timers/promises';
import { errorMessage, UnavailableError } from '../../errors.ts';
import { WrongExpectedRevisionError } from '../../events/event-store.ts';
import type { Logger } from '../../logger.ts';
import { backoff, sleep, within } from '../../waiting.ts';
import { createConnection } from './connection.ts';
import { isConnectionLoss, sqlState, translateError } from './errors.ts';
import { sendBatch } from './event-store-batch.ts';
import type { AppendResult, EncodedAppend } from './event-store-batch.ts';

export interface Appender {
  /**
   * @param patience milliseconds after which the caller is answered in any case, and what was not sent by then is not sent any more;
   * default: the appender's own, which bounds the tries alone
   * @throws WrongExpectedRevisionError, UnavailableError, or the driver's error when Postgres refuses the values
   */
  append(append: EncodedAppend, patience?: number): Promise<{ readonly revision: number }>;
  /** Takes nothing more and waits for what was taken. */
  close(): Promise<void>;
}

export interface AppenderOptions {
  readonly url: string;
  readonly logger: Logger;
  /** Milliseconds for which an append is tried again; default 8 s. */
  readonly patience?: number;
  /** After each commit. */
  readonly committed: () => void;
}

interface Waiting extends EncodedAppend {
  /** On the clock of `performance.now()`: not sent after it. */
  readonly deadline: number;
  resolve(result: { readonly revision: number }): void;
  reject(error: unknown): void;
}

const BATCH = { appends: 500, bytes: 4 * 1024 * 1024 };
const QUEUE = { appends: 20_000, bytes: 64 * 1024 * 1024 };
/** Milliseconds. A batch that is sent when its patience is nearly over fails at most `QUERY_TIMEOUT` later. */
const PATIENCE = 8_000;
const LOCK_TIMEOUT = 3_000;
const STATEMENT_TIMEOUT = 4_000;
const QUERY_TIMEOUT = 5_000;
const RETRY = { first: 50, most: 1_000 };

/**
 * Appends over one connection, one batch at a time: what arrives while a batch is in flight goes together in the next. One
 * commit for many appends is where the throughput comes from, and one writer waits for no lock of its own process.
 */
export function createAppender({ url, logger, committed, patience = PATIENCE }: AppenderOptions): Appender {
  const connection = createConnection({
    url,
    applicationName: 'asyncly append',
    lockTimeout: LOCK_TIMEOUT,
    statementTimeout: STATEMENT_TIMEOUT,
    queryTimeout: QUERY_TIMEOUT,
    // A snapshot taken before the append lock was had would hide the events of the writer before; an append that
    // was acknowledged is on disk, whatever the server's default says.
    setup: `SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED;
      SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`,
  });
  const queue = new Set<Waiting>();
  let queuedBytes = 0;
  let draining: Promise<void> | null = null;
  let closed = false;

  function enqueue(append: Waiting): void {
    queue.add(append);
    queuedBytes += append.size;
    draining ??= drain();
  }

  /** @returns whether it was still waiting */
  function dequeue(append: Waiting): boolean {
    const waited = queue.delete(append);
    if (waited) queuedBytes -= append.size;
    return waited;
  }

  async function drain(): Promise<void> {
    do {
      // Lets everyone who was just answered, or who asks in this same turn, join the batch.
      await nextTurn();
      await settle(takeBatch());
    } while (queue.size > 0);
    draining = null;
  }

  function takeBatch(): Waiting[] {
    const batch: Waiting[] = [];
    let bytes = 0;
    for (const append of queue) {
      if (batch.length === BATCH.appends || (batch.length > 0 && bytes + append.size > BATCH.bytes)) break;
      dequeue(append);
      if (append.deadline < performance.now()) {
        append.reject(notSent());
        continue;
      }
      batch.push(append);
      bytes += append.size;
    }
    return batch;
  }

  /**
   * The ids and expectations make it safe to send the same appends again when it is not known what became of them: each for as long
   * as it has patience.
   */
  async function settle(batch: readonly Waiting[]): Promise<void> {
    let members = batch;
    for (let failures = 1; members.length > 0; failures++) {
      try {
        const results = await sendBatch(await connection.get(), members);
        committed();
        members.forEach((append, i) => answer(append, results[i]));
        return;
      } catch (error) {
        if (!isWorthRetrying(error)) {
          await settleRefused(members, error);
          return;
        }
        // 55P03 is the lock timeout: this connection is sound, the lock is held by someone else.
        if (sqlState(error) !== '55P03') connection.discard();
        const pause = backoff(failures, RETRY.first, RETRY.most);
        logger.warn(
          { failures, appends: members.length, reason: errorMessage(error) },
          'Append not answered; trying again',
        );
        members = stillPatient(members, performance.now() + pause, error);
        if (members.length > 0) await sleep(pause);
      }
    }
  }

  /** One member's values may have made Postgres refuse the statement: then only that one shall fail. */
  async function settleRefused(members: readonly Waiting[], error: unknown): Promise<void> {
    if (members.length > 1 && isFaultOfValues(error)) for (const append of members) await settle([append]);
    else for (const append of members) append.reject(translateError(error));
  }

  return {
    append(append, limit) {
      if (closed) return Promise.reject(new UnavailableError('postgres', 'The event store is closed'));
      // A single append above the limit of bytes may still pass, alone.
      if (queue.size >= QUEUE.appends || (queue.size > 0 && queuedBytes + append.size > QUEUE.bytes)) {
        return Promise.reject(
          new UnavailableError('postgres', `The event store is overloaded: ${queue.size} appends wait`),
        );
      }
      let withdraw!: () => boolean;
      const answered = new Promise<{ revision: number }>((resolve, reject) => {
        const deadline = performance.now() + (limit ?? patience);
        const waiting: Waiting = { ...append, deadline, resolve, reject };
        enqueue(waiting);
        withdraw = () => dequeue(waiting);
      });
      if (limit === undefined) return answered;
      return within(answered, limit, () => (withdraw() ? notSent() : unanswered()));
    },
    async close() {
      closed = true;
      await draining;
      await connection.close();
    },
  };
}

function answer(append: Waiting, result: AppendResult | undefined): void {
  if (result === undefined)
    append.reject(new Error('eventstore.append returned fewer rows than it was given appends'));
  else if (result.appended) append.resolve({ revision: result.revision });
  else {
    const actual = result.revision === -1 ? 'no_stream' : result.revision;
    append.reject(new WrongExpectedRevisionError(append.stream, append.expected, actual));
  }
}

/** SQLSTATE classes 22 (data), 23 (integrity) and 54 (limits). */
function isFaultOfValues(error: unknown): boolean {
  return /^(22|23|54)/.test(sqlState(error) ?? '');
}

/** The connection was lost, the lock was not had (55P03), Postgres rolled back on its own (40), or it is a standby now (25006). */
function isWorthRetrying(error: unknown): boolean {
  return isConnectionLoss(error) || /^(55P03|40...|25006)$/.test(sqlState(error) ?? '');
}

/** Tells those who have no patience left at `time`. @returns the others */
function stillPatient(members: readonly Waiting[], time: number, error: unknown): Waiting[] {
  return members.filter((append) => {
    if (append.deadline >= time) return true;
    append.reject(unanswered(error));
    return false;
  });
}

function notSent(): UnavailableError {
  return new UnavailableError('postgres', 'The event store did not get to this append in time');
}

function unanswered(cause?: unknown): UnavailableError {
  const reason = cause === undefined ? '' : `: ${errorMessage(cause)}`;
  return new UnavailableError('postgres', `The event store did not answer an append in time${reason}`, {
    cause,
  });
}
