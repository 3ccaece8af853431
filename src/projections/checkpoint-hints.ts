import type { Bus } from '../bus.ts';
import type { Position } from '../events/event-store.ts';

/** Least milliseconds between two hints about one projection. */
const INTERVAL_MS = 1;

/**
 * Tells on the bus how far a projection is: at once after a quiet time, then with the newest position at intervals. A hint
 * only: whoever waits for a position also looks at the checkpoint.
 */
export function createCheckpointHints(
  bus: Pick<Bus, 'publish'>,
  projection: string,
): (position: Position) => void {
  let newest: Position | null = null;
  let timer: NodeJS.Timeout | null = null;

  function tell(position: Position): void {
    bus.publish('checkpoint', { projection, position: position.toString() });
    timer = setTimeout(() => {
      timer = null;
      const next = newest;
      newest = null;
      if (next !== null) tell(next);
    }, INTERVAL_MS);
    timer.unref();
  }

  return (position) => {
    if (timer === null) tell(position);
    else newest = position;
  };
}
