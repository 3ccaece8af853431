import type { Queryable } from '../../database.ts';
import { errorMessage, UnavailableError } from '../../errors.ts';
import { CheckpointAheadError } from '../../events/event-store.ts';
import type { PositionedEvent, SubscribeOptions, SubscriptionMessage } from '../../events/event-store.ts';
import type { Logger } from '../../logger.ts';
import { readHead } from './event-store-pages.ts';
import type { AskedPage, ReadLog } from './event-store-tail.ts';
import type { Pulse } from './pulse.ts';
import { backoff, isAborted, sleep } from '../../waiting.ts';

export interface SubscriptionDeps {
  readonly database: Queryable;
  readonly readLog: ReadLog;
  readonly pulse: Pulse;
  readonly owns: (stream: string) => boolean;
  readonly logger: Logger;
}

/** Milliseconds between two looks at an unchanged store. */
const POLL = { least: 250, most: 500 };
const RETRY = { first: 100, most: 5_000 };
/** How many batches' worth of foreign events one statement may skip. */
const MOST_SKIPPED = 16;

/** See `EventStore.subscribe`. */
export async function* subscribeToPages(
  deps: SubscriptionDeps,
  { after, prefixes, batchSize = 500, signal: wanted }: SubscribeOptions,
): AsyncGenerator<SubscriptionMessage, void, void> {
  // Also ends the retries of a page that was asked for ahead, when the consumer leaves the loop.
  const leaving = new AbortController();
  const signal = AbortSignal.any([wanted, leaving.signal]);
  let position = after;
  let scan = batchSize;
  const ask = (): Promise<AskedPage | null> => {
    const request = { after: position, prefixes, limit: batchSize, scan };
    const answer = persistently(deps, signal, () => deps.readLog(request));
    answer.catch(() => undefined);
    return answer;
  };
  try {
    const head = await persistently(deps, signal, () => readHead(deps.database));
    if (head === null) return;
    if (after > head) throw new CheckpointAheadError(after, head);
    let behind = true;
    let ahead: Promise<AskedPage | null> | null = null;
    for (;;) {
      const answer: AskedPage | null = await (ahead ?? ask());
      ahead = null;
      if (answer === null || isAborted(signal)) return;
      const { page, beats } = answer;
      position = page.position;
      // The page may have been asked for by others, before there was what was there when this began.
      const atHead = page.atHead && position >= head;
      // Where few events are wanted, more are looked through at a time.
      const sparse = page.events.length < batchSize / 2;
      scan = sparse && prefixes.length > 0 ? Math.min(scan * 2, batchSize * MOST_SKIPPED) : batchSize;
      if (!atHead) ahead = ask();
      const events = page.events.filter((event) => isOwn(event, deps));
      if (events.length > 0) yield { kind: 'events', events };
      if (isAborted(signal)) return;
      if (atHead) {
        if (behind || position > (events.at(-1)?.position ?? page.after))
          yield { kind: 'caught-up', position };
        await deps.pulse.wait(beats, POLL.least + Math.random() * (POLL.most - POLL.least), signal);
      }
      behind = !atHead;
    }
  } finally {
    leaving.abort();
  }
}

function isOwn({ stream, id }: PositionedEvent, { owns, logger }: SubscriptionDeps): boolean {
  if (owns(stream)) return true;
  logger.debug({ stream, id }, 'Passed over an event that is not ours');
  return false;
}

/** Tries until it works; null when the signal came first. */
async function persistently<T>(
  { logger }: SubscriptionDeps,
  signal: AbortSignal,
  read: () => Promise<T>,
): Promise<T | null> {
  for (let failures = 1; !signal.aborted; failures++) {
    try {
      return await unlessAborted(read(), signal);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      const level = failures < 4 ? 'warn' : 'error';
      logger[level]({ failures, reason: errorMessage(error) }, 'Subscription cannot read; trying again');
      await sleep(backoff(failures, RETRY.first, RETRY.most), signal);
    }
  }
  return null;
}

/** The result, or null as soon as the signal aborts; the read then ends on its own. */
function unlessAborted<T>(read: Promise<T>, signal: AbortSignal): Promise<T | null> {
  return new Promise((resolve, reject) => {
    const abort = (): void => resolve(null);
    signal.addEventListener('abort', abort, { once: true });
    read.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
