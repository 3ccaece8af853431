import type { Statement } from '../database.ts';
import { WEBHOOK_PREFIX } from '../events/webhook.ts';
import type { ConsumedEvent } from '../subscriptions/consumer.ts';
import type { Projection } from './projection.ts';

/** One row an attempt to deliver a webhook. */
export const webhookLogsProjection: Projection = {
  name: 'webhook_logs',
  tables: ['webhook_logs'],
  readIndexes: ['webhook_logs_in_order'],
  prefixes: [WEBHOOK_PREFIX],
  apply,
};

function apply(events: readonly ConsumedEvent[]): readonly Statement[] {
  const rows = events.flatMap(({ event, recorded: { id, position, metadata } }) =>
    event.type === 'WebhookAttempted'
      ? [{ id, position, createdAt: metadata.occurredAt, ...event.data }]
      : [],
  );
  if (rows.length === 0) return [];
  return [
    {
      sql: `INSERT INTO webhook_logs (id, job_id, position, url, payload, status_code, success, attempt, error, created_at)
     SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::json[], $6::integer[], $7::boolean[],
       $8::integer[], $9::text[], $10::timestamptz[])
     ON CONFLICT (id) DO NOTHING`,
      values: [
        rows.map((row) => row.id),
        rows.map((row) => row.jobId),
        rows.map((row) => row.position),
        rows.map((row) => row.url),
        rows.map((row) => row.body),
        rows.map((row) => row.statusCode),
        rows.map((row) => row.success),
        rows.map((row) => row.attempt),
        rows.map((row) => row.error),
        rows.map((row) => row.createdAt),
      ],
    },
  ];
}
