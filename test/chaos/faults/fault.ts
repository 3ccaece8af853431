import type { Random } from '../random.ts';
import type { Stage } from '../stage.ts';

/** Something that is going to go wrong. */
export interface Fault {
  /** A row of the report, e.g. `kill -9 worker`. */
  readonly kind: string;
  /** What it is to strike, e.g. `worker-2`. */
  readonly target: string;
  /** What nothing else may strike meanwhile: a process or a part. */
  readonly holds: string;
  /** How long it lasts; 0 when it is over at once. */
  readonly seconds: number;
  /**
   * Waits until the target is in a state to be struck, strikes, sees to it that it has, and puts an end to it after its time, also when
   * the signal aborts.
   * @param struck told what it strikes, when that is not what was drawn
   * @throws when it could not be applied
   */
  readonly inflict: (signal: AbortSignal, struck: (target: string) => void) => Promise<void>;
}

/** Draws a fault of one kind. */
export type FaultKind = (random: Random, stage: Stage) => Fault;
