import { START } from '../events/event-store.ts';
import type { Position } from '../events/event-store.ts';
import { catchUp } from './catch-up.ts';
import type { Filling } from './fill.ts';
import { livePosition } from './live-position.ts';
import type { Maintenance } from './maintenance.ts';

/** Fills versions until they are close behind the live ones, and shows how far that is. */
export async function fillShown(
  m: Maintenance,
  fillings: readonly Filling[],
): Promise<{ readonly events: number; readonly fillMs: number }> {
  const began = performance.now();
  const lives = await Promise.all(fillings.map(({ projection }) => livePosition(m.database, projection)));
  const from = fillings.reduce<Position | null>(
    (least, { position }) => (least === null || position < least ? position : least),
    null,
  );
  const to = lives.reduce<Position | null>(
    (most, { position }) => (most === null || position > most ? position : most),
    null,
  );
  const [only, ...others] = fillings;
  const projection = only && others.length === 0 ? only.projection.name : null;
  let events = 0;
  const show = (fraction: number): void => m.onProgress({ phase: 'fill', projection, events, fraction });
  const fractionAt = (position: Position): number =>
    Math.min(0.999, Number(position - START) / Math.max(1, Number((to ?? START) - START)));
  show(fractionAt(from ?? START));
  await catchUp(m, fillings, (count, position) => {
    events += count;
    show(fractionAt(position));
  });
  show(1);
  return { events, fillMs: performance.now() - began };
}
