import { decodeEvent } from '../events/codec.ts';
import type { RecordedEvent } from '../events/event-store.ts';

/** The kinds of streams that a job has. */
export type TrailKind = 'job' | 'log' | 'webhook';

/** A place in a job's life: no event of a later round or attempt stands before one of an earlier in the job's own stream. */
interface Stage {
  readonly round: number;
  /** 0 before the first attempt of a round. */
  readonly attempt: number;
}

/** What ends an execution. */
const ENDS = new Set(['JobReleased', 'JobAttemptFailed', 'JobCompleted', 'JobFailed', 'JobCancelled']);

/**
 * Which of two events comes first that stand at the head of two streams: the one that happened earlier by its own clock; at the
 * same millisecond what begins an execution before what it reports, that before its end, and that before what webhooks tell of it.
 */
export function isBefore(
  left: RecordedEvent,
  leftKind: TrailKind,
  right: RecordedEvent,
  rightKind: TrailKind,
): boolean {
  const [leftAt, rightAt] = [left.metadata.occurredAt, right.metadata.occurredAt];
  if (leftAt !== rightAt) return leftAt < rightAt;
  return rank(left, leftKind) < rank(right, rightKind);
}

function rank({ type }: RecordedEvent, kind: TrailKind): number {
  switch (kind) {
    case 'job':
      return ENDS.has(type) ? 2 : 0;
    case 'log':
      return 1;
    case 'webhook':
      return 3;
    default:
      return kind satisfies never;
  }
}

/** The round that an event of a job's stream ends, and whether a webhook tells of it; null when it ends none. */
export function roundEnd(recorded: RecordedEvent): { readonly round: number; readonly told: boolean } | null {
  const { round, webhook } = dataOf(recorded);
  return typeof webhook === 'boolean' && isCount(round) ? { round, told: webhook } : null;
}

/**
 * Whether the start of the execution that has reported something is still ahead in its job's stream. The clocks of two processes
 * differ; what an execution reports never comes before its start all the same.
 * @param report the event of the log stream
 * @param ahead the events of the job's stream that come next
 */
export async function startIsAhead(
  report: RecordedEvent,
  ahead: AsyncIterable<RecordedEvent>,
): Promise<boolean> {
  const { executionId } = dataOf(report);
  const reported = stageOf(report);
  if (reported === null) return false;
  for await (const event of ahead) {
    const stage = stageOf(event);
    if (stage === null) continue;
    const distance = stage.round - reported.round || stage.attempt - reported.attempt;
    if (distance > 0) return false;
    if (distance < 0) return true;
    if (event.type === 'JobStarted' && dataOf(event)['executionId'] === executionId) return true;
  }
  return false;
}

/** null for an event that may stand anywhere in its round. */
function stageOf(recorded: RecordedEvent): Stage | null {
  if (recorded.type === 'JobCreated') return { round: 1, attempt: 0 };
  const { round, attempt } = dataOf(recorded);
  if (!isCount(round)) return null;
  if (recorded.type === 'JobRetried') return { round, attempt: 0 };
  return isCount(attempt) ? { round, attempt } : null;
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0;
}

/** The data in today's shape; as it was stored when this build cannot read it, so that such an event hides no other. */
function dataOf(recorded: RecordedEvent): Readonly<Record<string, unknown>> {
  try {
    return decodeEvent(recorded).data;
  } catch {
    return recorded.data;
  }
}
