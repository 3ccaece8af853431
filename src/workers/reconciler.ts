import { isAborted, sleep } from '../waiting.ts';
import type { Database } from '../database.ts';
import { errorMessage } from '../errors.ts';
import type { Logger } from '../logger.ts';
import { readPage } from './open-work.ts';
import type { PageCursor } from './open-work.ts';
import { workId } from './work-queue.ts';
import type { WorkQueue } from './work-queue.ts';

/** Milliseconds between two passes, by default. */
export const RECONCILER_INTERVAL_MS = 10_000;
const SETTLED_MS = 2_000;
const PAGE = 500;
/** Pages a pass over overdue work looks at; the next pass goes on behind them. */
const PAGES_PER_PASS = 10;

export interface ReconcilerOptions {
  readonly database: Database;
  readonly queue: WorkQueue;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** Milliseconds between two passes. Default: 10,000. */
  readonly intervalMs?: number;
  /** Younger than this, in milliseconds, an entry that is not in the queue is most likely on its way there. Default: 2,000. */
  readonly settledMs?: number;
}

/**
 * Puts back into the queue what `open_work` holds and the queue has lost: at once, then every interval. As a rule it looks at what is
 * due; when the epoch it keeps in the queue is gone or older than the one in Postgres, the queue has lost data (a flush, an old
 * snapshot), and everything is looked at, delayed work included.
 *
 * Each pass has an epoch of its own, which goes into Postgres first: a crash in between makes the queue look older, which costs one
 * pass too many and loses nothing. Into the queue it goes only in place of the one that was read there, so that no loss is written over.
 */
export async function reconcile(options: ReconcilerOptions): Promise<void> {
  const { queue, logger, signal, intervalMs = RECONCILER_INTERVAL_MS, settledMs = SETTLED_MS } = options;
  let cursor: PageCursor = null;
  while (!signal.aborted) {
    try {
      const known = await knownEpoch(options);
      const next = known + 1n;
      const found = await queue.readEpoch();
      await recordEpoch(options, next);
      // At once, so that a loss during the pass is seen by the next one.
      if (isIntact(found, known) && (await queue.replaceEpoch(found, next))) {
        const dueBefore = new Date(Date.now() - settledMs);
        cursor = await restore(options, { after: cursor, dueBefore, pages: PAGES_PER_PASS });
      } else {
        cursor = null;
        await restoreAll(options, next);
      }
    } catch (error) {
      logger.warn({ reason: errorMessage(error) }, 'Reconciling failed; trying again');
    }
    await sleep(intervalMs * (0.9 + Math.random() / 5), signal);
  }
}

/** A queue that nobody has written an epoch into yet has lost nothing. */
function isIntact(found: bigint | null, known: bigint): boolean {
  return known === 0n || (found !== null && found >= known);
}

/** Until all is there again, the queue holds the epoch's negative: it tells of a pass cut short, and of data lost once more meanwhile. */
async function restoreAll(options: ReconcilerOptions, epoch: bigint): Promise<void> {
  const { queue, logger, signal } = options;
  const found = await queue.readEpoch();
  logger.warn(
    { epoch: epoch.toString(), found: found?.toString() ?? null },
    'The queue has lost data; restoring it',
  );
  if (!(await queue.replaceEpoch(found, -epoch))) return;
  await restore(options, { after: null, dueBefore: null, pages: Number.POSITIVE_INFINITY });
  if (!isAborted(signal)) await queue.replaceEpoch(-epoch, epoch);
}

/** @returns where to go on, null when the end was reached */
async function restore(
  { database, queue, logger, signal }: ReconcilerOptions,
  from: { after: PageCursor; dueBefore: Date | null; pages: number },
): Promise<PageCursor> {
  let { after } = from;
  let restored = 0;
  for (let pages = 0; pages < from.pages && !signal.aborted; pages++) {
    const page = await readPage(database, { after, dueBefore: from.dueBefore, limit: PAGE });
    const missing = new Set((await queue.missing(page)).map(workId));
    const entries = page.filter((entry) => missing.has(workId(entry)));
    if (entries.length > 0) await queue.add(entries);
    restored += entries.length;
    after = page.length < PAGE ? null : (page.at(-1) ?? null);
    if (after === null) break;
  }
  if (restored > 0) logger.warn({ entries: restored }, 'Put work back that the queue had lost');
  return after;
}

async function knownEpoch({ database }: ReconcilerOptions): Promise<bigint> {
  const { rows } = await database.query<{ epoch: bigint }>('SELECT epoch FROM queue_epoch');
  return rows[0]?.epoch ?? 0n;
}

async function recordEpoch({ database }: ReconcilerOptions, epoch: bigint): Promise<void> {
  await database.query(
    'INSERT INTO queue_epoch (epoch) VALUES ($1) ON CONFLICT (only_row) DO UPDATE SET epoch = excluded.epoch',
    [epoch],
  );
}
