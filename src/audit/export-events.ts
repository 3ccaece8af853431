import type { Queryable } from '../database.ts';
import { AppError } from '../errors.ts';
import type { EventStore } from '../events/event-store.ts';
import { SEAL_INTERVAL } from './chain.ts';
import { checkedWalk, loadKnownEvents } from './checked-walk.ts';
import { renderEvent } from './cloud-event.ts';
import { locate } from './locate.ts';
import type { Bound } from './locate.ts';
import { renderManifest } from './manifest.ts';
import { ManifestDraft } from './manifest-draft.ts';
import type { Manifest } from './manifest.ts';
import { loadSealBefore } from './seals.ts';
import type { PublicKeys, SigningKey } from './signing.ts';
import type { ChainedEvent } from './walk.ts';

export interface ExportOptions {
  readonly store: EventStore;
  readonly database: Queryable;
  /** Both inclusive; null for the beginning and for the end. */
  readonly from: Bound | null;
  readonly to: Bound | null;
  /** Signs the manifest. */
  readonly key: SigningKey | null;
  /** What signatures of seals are verified with. */
  readonly keys: PublicKeys;
  /** Name and version of this program. */
  readonly software: string;
  /** ISO 8601, UTC. */
  readonly now: string;
  readonly signal: AbortSignal;
  /** @param fraction 0 to 1 */
  readonly onProgress?: (events: number, fraction: number) => void;
}

/** There are fewer events than the range asks for. */
export class RangeBeyondEndError extends AppError {
  constructor(number: number, events: number) {
    super('RANGE_BEYOND_END', `There is no event ${number}: the store has ${events}`, { number, events });
  }
}

/** More seals than a reader of the manifest should have to hold. */
export class ExportTooLargeError extends AppError {
  constructor() {
    super(
      'EXPORT_TOO_LARGE',
      `An export holds at most ${MOST_SEALS * SEAL_INTERVAL} events: export ranges, one after the other`,
    );
  }
}

/** About 35 MB of manifest. */
const MOST_SEALS = 100_000;

/**
 * The lines of an export, several to a text, each with its end; the manifest's is the last. What is exported has been
 * compared with all that was kept of it.
 * @returns the manifest
 * @throws TamperedError, RangeBeyondEndError, EmptyRangeError, ExportTooLargeError, UnavailableError; or the signal's reason
 */
export async function* exportLines(options: ExportOptions): AsyncGenerator<string, Manifest, void> {
  const { store, database, from, key, keys, software, now, signal, onProgress } = options;
  const known = await loadKnownEvents(database);
  const upTo = await store.head();
  const { first, last } = await locate(options, { store, database, upTo, signal });
  const end = last ?? Infinity;
  const start = await loadSealBefore(database, Math.min(first - 1, known.sealed));
  const draft = new ManifestDraft(first, start);
  if (end > start.events) {
    for await (const batch of checkedWalk({ store, database, start, upTo, known, keys, signal })) {
      const passing = batch.events.filter(({ number }) => number <= end);
      for (const chained of passing) draft.pass(chained);
      draft.sign(batch.signed);
      if (draft.seals > MOST_SEALS) throw new ExportTooLargeError();
      const wanted = passing.filter(({ number }) => number >= first);
      if (wanted.length > 0) yield wanted.map(line).join('');
      if (draft.reached >= end) break;
      const expected = Math.max(last ?? known.sealed, draft.reached + 1);
      onProgress?.(draft.count, (draft.reached - start.events) / (expected - start.events));
    }
  }
  if (last !== null && draft.reached < last) throw new RangeBeyondEndError(last, draft.reached);
  if (typeof from === 'number' && draft.reached < from) throw new RangeBeyondEndError(from, draft.reached);
  const manifest = draft.finish({ exportedAt: now, software, keyId: key?.id ?? null });
  yield `${renderManifest(manifest, key)}\n`;
  onProgress?.(draft.count, 1);
  return manifest;
}

function line({ event, number, before, after }: ChainedEvent): string {
  return `${renderEvent({ event, number, before: before.toString('hex'), after: after.toString('hex') })}\n`;
}
