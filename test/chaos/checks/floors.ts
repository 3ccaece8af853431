import type { Submission } from '../history.ts';
import type { Delivery } from './webhooks.ts';
import type { Streams } from './stored.ts';
import type { Violation } from './violation.ts';

/** Of all submissions: runs that went well acknowledged 85 % and more, a third of them without a key to repeat them by. */
const LEAST_ACKNOWLEDGED = 0.7;
const ENDS = ['JobCompleted', 'JobFailed', 'JobCancelled'];

export interface Seen {
  readonly submissions: readonly Submission[];
  readonly streams: Streams;
  readonly deliveries: readonly Delivery[];
}

/** What was promised of the answers alone would be kept by a service that takes nothing: so much has to have come of a run. */
export function checkFloors({ submissions, streams, deliveries }: Seen): Violation[] {
  const promise = 'the service does its work meanwhile';
  const acknowledged = submissions.filter(({ jobId }) => jobId !== null).length;
  const events = [...streams.values()].flat();
  const isEmpty = [
    ...(submissions.length === 0 ? ['nothing was submitted'] : []),
    ...(acknowledged < LEAST_ACKNOWLEDGED * submissions.length
      ? [`${acknowledged} of ${submissions.length} submissions were acknowledged`]
      : []),
    ...(events.some(({ event }) => ENDS.includes(event.type)) ? [] : ['no job has ended']),
    ...(deliveries.some(({ taken }) => taken) ? [] : ['no webhook was taken']),
  ];
  const givenUp = submissions.filter(
    ({ jobId, idempotencyKey }) => jobId === null && idempotencyKey !== null,
  );
  return [
    ...isEmpty.map((particulars) => ({ promise, particulars })),
    ...givenUp.map(({ n, outcomes }) => ({
      promise: 'a submission with a key is acknowledged in the end',
      particulars: `submission ${n} was given up after ${outcomes.length} requests (${outcomes.at(-1) ?? 'none'})`,
    })),
  ];
}
