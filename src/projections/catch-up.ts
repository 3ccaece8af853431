import type { Queryable } from '../database.ts';
import { UnavailableError } from '../errors.ts';
import type { Position } from '../events/event-store.ts';
import { isTransient } from '../subscriptions/apply-batch.ts';
import { backoff, isAborted, sleep } from '../waiting.ts';
import { fill } from './fill.ts';
import type { Filling, FillOptions } from './fill.ts';
import { holdLivePosition, livePosition } from './live-position.ts';
import type { Maintenance } from './maintenance.ts';

/** A round of catching up with so few events leaves little enough for the live one to wait for: as much as it does at once. */
const CLOSE = 500;
/** The live read model may run as fast as we do; it is held in any case after so many rounds. */
const MOST_ROUNDS = 20;
/** How long the live one's checkpoint is waited for: its transactions are short. */
const HOLD_TIMEOUT = '3s';
/** How long the live one is held for the last events, in milliseconds: the event store may be away just then. */
const MOST_HELD = 10_000;
const RETRY = { first: 100, most: 3_000 };

/**
 * Fills versions up to where their live ones are, again and again until they are close behind. They never go beyond: a version
 * always stands where its live one has been.
 */
export async function catchUp(
  m: Maintenance,
  fillings: readonly Filling[],
  onBatch?: NonNullable<FillOptions['onBatch']>,
): Promise<void> {
  for (let round = 0; round < MOST_ROUNDS; round++) {
    let events = 0;
    const targets = await Promise.all(
      fillings.map(async (filling) => ({
        filling,
        upTo: (await livePosition(m.database, filling.projection)).position,
      })),
    );
    const transaction: FillOptions['transaction'] = (work) => m.database.transaction(work);
    await fill(targets, {
      ...m,
      transaction,
      onBatch(count, position) {
        events += count;
        onBatch?.(count, position);
      },
    });
    if (events <= CLOSE) return;
  }
}

/**
 * Keeps the live read model where it is until the end of a transaction, and brings a version that is close behind exactly there.
 * @param tx holds it
 * @param transaction fills the version: in transactions of their own, or in `tx` itself
 * @returns where both of them are
 */
export async function alignWithLive(
  m: Maintenance,
  filling: Filling,
  tx: Queryable,
  transaction: FillOptions['transaction'],
): Promise<Position> {
  await tx.query(`SET LOCAL lock_timeout = '${HOLD_TIMEOUT}'`);
  const live = await holdLivePosition(tx, filling.projection);
  const timeout = AbortSignal.timeout(MOST_HELD);
  try {
    const signal = AbortSignal.any([m.signal, timeout]);
    await fill([{ filling, upTo: live }], { ...m, signal, transaction });
    return live;
  } catch (error) {
    if (isAborted(m.signal) || !isAborted(timeout)) throw error;
    throw new UnavailableError('event store', 'The event store did not give the last events in time');
  }
}

/** Tries again, at growing intervals, while others are in the way or a part is away. @throws what the last try threw */
export async function patiently<T>(
  { signal, logger, tries }: Pick<Maintenance, 'signal' | 'logger' | 'tries'>,
  work: (attempt: number) => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    try {
      return await work(attempt);
    } catch (error) {
      if (attempt >= tries || !isTransient(error)) throw error;
      logger.debug({ err: error, attempt }, 'Others are in the way; trying again');
      await sleep(backoff(attempt, RETRY.first, RETRY.most), signal);
    }
  }
}
