import type { Cut, Faults } from './faults.ts';
import type { AppendOutcome, EventLog } from './log.ts';

export interface Counts {
  appendCalls: number;
  batchAppendCalls: number;
  subscriptions: number;
  /** Events given to the connections of subscriptions, and bytes of their data. */
  delivered: number;
  deliveredBytes: number;
}

interface Outcomes {
  readonly fail: (error: Error) => void;
  readonly answer: (outcome: AppendOutcome) => void;
}

/** What the handlers share. */
export interface ServerState {
  readonly log: EventLog;
  readonly faults: Faults;
  readonly counts: Counts;
  /** Ends of the subscriptions that run. */
  readonly running: Set<(how: Cut) => void>;
  port: number;
  /** Resolves when the double is not stalled. */
  unstalled(): Promise<void>;
  carryOut(stream: string, append: () => AppendOutcome, outcomes: Outcomes): Promise<void>;
}
