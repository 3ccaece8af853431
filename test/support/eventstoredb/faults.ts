/**
 * What may go wrong with an append:
 * - `lost-reply`: made, and no answer ever
 * - `cut-after-commit`: made, and the call ends UNAVAILABLE
 * - `cut-before-commit`: not made, and the call ends UNAVAILABLE
 * - `timeout`: the server gives up waiting (ABORTED), and makes it a moment later
 * - `busy`: not made, UNKNOWN
 * - `not-leader`: not made, the leader's address (this very server's) is given
 * - `stall`: not made, and no answer ever
 * - `conflict-after-commit`: made, and answered as if someone else had been first, as a repetition whose ids the server does not recognise
 */
export type AppendFault =
  | 'lost-reply'
  | 'cut-after-commit'
  | 'cut-before-commit'
  | 'timeout'
  | 'busy'
  | 'not-leader'
  | 'stall'
  | 'conflict-after-commit';

/** What may go wrong with a read or when a subscription begins. */
export type ReadFault = 'unavailable' | 'not-leader' | 'stall' | 'clean-end';

/** How a running subscription may end. */
export type Cut = 'unavailable' | 'clean-end';

export interface Faults {
  /** Asked for each append that no {@link appends} was set for. */
  onAppend: (stream: string) => AppendFault | null;
  /** Asked for each event that goes to a subscription; it is cut in place of that event. */
  onDelivery: (stream: string) => Cut | null;
  /** The next calls get these, in order. */
  readonly appends: AppendFault[];
  readonly reads: ReadFault[];
  readonly subscriptions: ReadFault[];
  /** Nothing is answered or delivered while true, as by a process that is stopped. Set by `EventStoreDouble.stall`. */
  stalled: boolean;
  /** Milliseconds before each answer of an append. */
  delay: number;
  /** Milliseconds before each event that is delivered to a subscription. */
  deliveryDelay: number;
}

export function createFaults(): Faults {
  return {
    onAppend: () => null,
    onDelivery: () => null,
    appends: [],
    reads: [],
    subscriptions: [],
    stalled: false,
    delay: 0,
    deliveryDelay: 0,
  };
}
