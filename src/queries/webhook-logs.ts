import type { Database } from '../database.ts';
import type { Json } from '../events/json.ts';
import { assertPageFits } from './page-size.ts';

/** One attempt to deliver a webhook, as clients see it. */
interface WebhookLogEntry {
  readonly id: string;
  readonly jobId: string;
  readonly url: string;
  /** The body that was sent, parsed. */
  readonly payload: Json;
  /** null when there was no answer. */
  readonly statusCode: number | null;
  readonly success: boolean;
  readonly attempt: number;
  readonly error: string | null;
  /** ISO 8601, UTC. */
  readonly createdAt: string;
}

interface WebhookLogRow {
  readonly id: string;
  readonly job_id: string;
  readonly url: string;
  readonly payload: Json;
  readonly status_code: number | null;
  readonly success: boolean;
  readonly attempt: number;
  readonly error: string | null;
  readonly created_at: Date;
}

export interface WebhookLogQueries {
  /**
   * One page of the attempts to deliver a job's webhooks, oldest first. Whose job it is must have been checked.
   * @param page counts from 1
   * @throws PageTooLargeError
   */
  list(
    jobId: string,
    options: { readonly page: number; readonly limit: number },
  ): Promise<{ readonly entries: WebhookLogEntry[]; readonly total: number }>;
}

export function createWebhookLogQueries(database: Database): WebhookLogQueries {
  return {
    async list(jobId, { page, limit }) {
      const ofPage = 'FROM webhook_logs WHERE job_id = $1 ORDER BY position LIMIT $2 OFFSET $3';
      const values = [jobId, limit, (page - 1) * limit];
      const sizes = `SELECT octet_length(payload::text) AS bytes ${ofPage}`;
      await assertPageFits(database, limit, sizes, values);
      const [listed, counted] = await Promise.all([
        database.query<WebhookLogRow>(
          `SELECT id, job_id, url, payload, status_code, success, attempt, error, created_at ${ofPage}`,
          values,
        ),
        database.query<{ total: bigint }>('SELECT count(*) AS total FROM webhook_logs WHERE job_id = $1', [
          jobId,
        ]),
      ]);
      const entries = listed.rows.map(({ job_id, status_code, created_at, ...row }) => ({
        id: row.id,
        jobId: job_id,
        url: row.url,
        payload: row.payload,
        statusCode: status_code,
        success: row.success,
        attempt: row.attempt,
        error: row.error,
        createdAt: created_at.toISOString(),
      }));
      return { entries, total: Number(counted.rows[0]?.total ?? 0) };
    },
  };
}
