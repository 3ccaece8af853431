import { compareWithLive, differingRows } from './compare.ts';
import type { Comparison } from './compare.ts';
import { dropVersion } from './drop-version.ts';
import { fillShown } from './fill-shown.ts';
import { assertStoreHolds, livePosition } from './live-position.ts';
import type { Maintenance } from './maintenance.ts';
import { openVerifying } from './open-version.ts';
import type { OpenedVersion } from './open-version.ts';
import type { Projection } from './projection.ts';

export interface Verified extends Comparison {
  readonly projection: string;
  readonly differing: number;
  /** Why the live one has stopped: it was compared up to there; null while all is well. */
  readonly stopped: string | null;
}

/**
 * Folds the events anew and compares the rows with the live ones, both at one position. The live ones stay as they are.
 * @throws NeverRunError, CheckpointAheadError, UnfitTableError, EventNotApplicableError
 */
export async function verify(m: Maintenance, projections: readonly Projection[]): Promise<Verified[]> {
  const lives = await Promise.all(projections.map((projection) => livePosition(m.database, projection)));
  await assertStoreHolds(
    m.store,
    lives.map(({ position }) => position),
  );
  const opened: OpenedVersion[] = [];
  try {
    for (const projection of projections) opened.push(await openVerifying(m, projection));
    await fillShown(m, opened);
    const verified: Verified[] = [];
    for (const [i, version] of opened.entries()) {
      const { name } = version.projection;
      m.onProgress({ phase: 'compare', projection: name });
      const comparison = await compareWithLive(m, version, version.live);
      const stopped = lives[i]?.stopped ?? null;
      verified.push({ projection: name, differing: differingRows(comparison), stopped, ...comparison });
    }
    return verified;
  } finally {
    await m.calm();
    for (const { projection, version } of opened) {
      await dropVersion(m.database, { projection: projection.name, version }).catch((error: unknown) =>
        m.logger.warn({ err: error, projection: projection.name }, 'Not dropped; the next call does it'),
      );
    }
  }
}
