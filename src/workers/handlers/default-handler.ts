import type { Handler } from '../handler.ts';
import type { SimulateWork } from './simulate-work.ts';

/** Simulates the work of any type that nothing else handles: about 1 s. */
export function defaultHandler(work: SimulateWork): Omit<Handler, 'type'> {
  return {
    async run(_payload, { signal }) {
      await work(1_000, signal);
      return { processed: true, timestamp: new Date().toISOString() };
    },
  };
}
