import { parse as uuidBytes, v5 as uuidv5 } from 'uuid';
import type { Statement } from '../database.ts';
import type { DomainEvent } from '../events/codec.ts';
import { JOB_LOG_PREFIX, JOB_PREFIX } from '../events/job.ts';
import type { ConsumedEvent } from '../subscriptions/consumer.ts';
import type { Projection } from './projection.ts';

/** The log of a job: what its life cycle says, and what its handler reported. */
export const jobLogsProjection: Projection = {
  name: 'job_logs',
  tables: ['job_logs'],
  readIndexes: ['job_logs_in_order'],
  prefixes: [JOB_PREFIX, JOB_LOG_PREFIX],
  ignores: ['JobCreated'],
  apply,
};

function apply(events: readonly ConsumedEvent[]): readonly Statement[] {
  const rows = events.flatMap(({ event, recorded }) => {
    const jobId = recorded.stream.slice(recorded.stream.indexOf('-') + 1);
    const lines = logLines(event);
    if (lines.length === 0) return [];
    // As bytes: for texts the library takes twice as long.
    const namespace = uuidBytes(recorded.id);
    return lines.map((message, line) => ({
      id: uuidv5(Buffer.from(String(line)), namespace),
      jobId,
      position: recorded.position,
      line,
      message,
      createdAt: recorded.metadata.occurredAt,
    }));
  });
  if (rows.length === 0) return [];
  return [
    {
      sql: `INSERT INTO job_logs (id, job_id, position, line, message, created_at)
     SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::smallint[], $5::text[], $6::timestamptz[])
     ON CONFLICT (id) DO NOTHING`,
      values: [
        rows.map((row) => row.id),
        rows.map((row) => row.jobId),
        rows.map((row) => row.position),
        rows.map((row) => row.line),
        rows.map((row) => storable(row.message)),
        rows.map((row) => row.createdAt),
      ],
    },
  ];
}

/** Postgres text holds no NUL: the replacement character stands for it, here and in no event. */
const storable = (message: string): string => message.replaceAll('\u0000', '\uFFFD');

/** The lines an event adds to a job's log. */
function logLines(event: DomainEvent): string[] {
  switch (event.type) {
    case 'JobCreated':
      return [];
    case 'JobStarted': {
      const { type, supersedes } = event.data;
      const start = [
        `Job started: type=${type}`,
        'Status updated to PROCESSING',
        `Processing job type: ${type}`,
      ];
      return supersedes === null ? start : ['Taken over from a worker that died', ...start];
    }
    case 'JobCancelRequested':
      return ['Cancellation requested'];
    case 'JobReleased':
      return [`Handed back by the worker: ${event.data.reason}`, 'Status updated to PENDING'];
    case 'JobAttemptFailed':
      return [
        `Attempt ${event.data.attempt} failed: ${event.data.error}`,
        `Next attempt at ${event.data.retryAt}`,
      ];
    case 'JobCompleted':
      return ['Job completed successfully'];
    case 'JobFailed':
      return [`Job failed: ${event.data.error}`];
    case 'JobCancelled':
      return ['Job cancelled'];
    case 'JobRetried':
      return ['Job submitted again'];
    case 'JobLogged':
      return [event.data.message];
    case 'JobProgressed':
      return [`Progress: ${event.data.percent}%${event.data.note === null ? '' : `, ${event.data.note}`}`];
    case 'WebhookAttempted':
    case 'WebhookAbandoned':
    case 'WebhookRedeliveryRequested':
      return [];
    default:
      return event satisfies never;
  }
}
