import type { RecordedEvent } from '../../src/events/event-store.ts';

type Data = Readonly<Record<string, unknown>>;

const STATUS: Readonly<Record<string, string>> = {
  JobCreated: 'PENDING',
  JobStarted: 'PROCESSING',
  JobReleased: 'PENDING',
  JobAttemptFailed: 'PENDING',
  JobCompleted: 'DONE',
  JobFailed: 'FAILED',
  JobCancelled: 'CANCELLED',
  JobRetried: 'PENDING',
};

/**
 * What the API must answer of a job after some events of its own stream, told from them without a fold: each field by the event
 * that has the last word on it. The code under test has no part in this.
 */
export function expectedView(events: readonly RecordedEvent[]): Data {
  const last = (...types: string[]): RecordedEvent | undefined =>
    events.findLast(({ type }) => types.includes(type));
  const first = events[0]!;
  const submitted: Data = first.data;
  const retried = events.findLastIndex(({ type }) => type === 'JobRetried');
  const round = events.slice(retried + 1);
  const ended = events.at(-1)!;
  const turn = last(...Object.keys(STATUS))!;
  const failure = round.findLast(({ type }) => type === 'JobAttemptFailed' || type === 'JobFailed');
  const completed = round.find(({ type }) => type === 'JobCompleted');
  const dueAt: Readonly<Record<string, unknown>> = {
    JobCreated: submitted['runAt'],
    JobAttemptFailed: turn.data['retryAt'],
  };
  return {
    id: submitted['jobId'],
    userId: submitted['userId'],
    type: submitted['type'],
    status: STATUS[turn.type],
    payload: submitted['payload'],
    result: completed?.data['result'] ?? null,
    webhookUrl: submitted['webhookUrl'],
    createdAt: first.metadata.occurredAt,
    updatedAt: ended.metadata.occurredAt,
    error: completed ? null : (failure?.data['error'] ?? null),
    round: 1 + events.filter(({ type }) => type === 'JobRetried').length,
    attempt: 1 + round.filter(({ type }) => type === 'JobAttemptFailed').length,
    maxAttempts: last('JobStarted')?.data['maxAttempts'] ?? submitted['maxAttempts'],
    timeoutMs: submitted['timeoutMs'],
    runAt: dueAt[turn.type] ?? null,
    cancelRequested: turn.type === 'JobStarted' && ended.type === 'JobCancelRequested',
  };
}

/**
 * Everything of a job in the order that docs/api.md promises, found the long way: again and again the earliest of the events whose
 * predecessor in their stream and whose cause have come.
 */
export function expectedTrail(events: readonly RecordedEvent[]): RecordedEvent[] {
  const left = new Set(events);
  const trail: RecordedEvent[] = [];
  const came = (wanted: (event: RecordedEvent) => boolean): boolean => trail.some(wanted);
  const isReady = (event: RecordedEvent): boolean => {
    if (event.revision > 0 && !came((other) => isBefore(other, event))) return false;
    const { executionId, round } = event.data;
    if (event.stream.startsWith('jobLog-')) {
      return came(({ type, data }) => type === 'JobStarted' && data['executionId'] === executionId);
    }
    return (
      !event.stream.startsWith('webhook-') || came(({ data }) => 'webhook' in data && data['round'] === round)
    );
  };
  while (left.size > 0) {
    const [next] = [...left].filter(isReady).sort((one, other) => (sortKey(one) < sortKey(other) ? -1 : 1));
    if (next === undefined) throw new Error('Some events have no cause');
    left.delete(next);
    trail.push(next);
  }
  return trail;
}

function isBefore(other: RecordedEvent, event: RecordedEvent): boolean {
  return other.stream === event.stream && other.revision === event.revision - 1;
}

function sortKey({ stream, type, metadata }: RecordedEvent): string {
  const ends = ['JobReleased', 'JobAttemptFailed', 'JobCompleted', 'JobFailed', 'JobCancelled'].includes(
    type,
  );
  const rank = stream.startsWith('webhook-') ? 3 : stream.startsWith('jobLog-') ? 1 : ends ? 2 : 0;
  const round = /^webhook-.{36}-(\d+)$/.exec(stream)?.[1] ?? '';
  return `${metadata.occurredAt} ${rank} ${round.padStart(9, '0')}`;
}
