import type { Queryable, Statement } from '../database.ts';
import type { WorkEntry, WorkItem } from './work-queue.ts';

/** `open_work`: what must still happen, in the words of the queue. Changed only together with the dispatcher's checkpoint. */

interface OpenWorkRow {
  readonly kind: WorkEntry['kind'];
  readonly job_id: string;
  readonly round: number;
  readonly attempt: number;
  readonly due_at: Date;
}

/** What a batch of events changes. Items opened and closed within the batch appear in neither list. */
export interface WorkChanges {
  readonly opened: readonly WorkEntry[];
  readonly closed: readonly WorkItem[];
}

/** Statements that write them. */
export function writesOf({ opened, closed }: WorkChanges): Statement[] {
  const writes: Statement[] = [];
  if (closed.length > 0) {
    writes.push({
      sql: `DELETE FROM open_work USING unnest($1::text[], $2::uuid[], $3::integer[], $4::integer[])
         AS given (kind, job_id, round, attempt)
       WHERE (open_work.kind, open_work.job_id, open_work.round, open_work.attempt)
           = (given.kind, given.job_id, given.round, given.attempt)`,
      values: columns(closed),
    });
  }
  if (opened.length > 0) {
    writes.push({
      sql: `INSERT INTO open_work (kind, job_id, round, attempt, due_at)
       SELECT * FROM unnest($1::text[], $2::uuid[], $3::integer[], $4::integer[], $5::timestamptz[])
       ON CONFLICT (kind, job_id, round, attempt) DO UPDATE SET due_at = excluded.due_at`,
      values: [...columns(opened), opened.map((entry) => entry.dueAt)],
    });
  }
  return writes;
}

function columns(items: readonly WorkItem[]): unknown[] {
  return [
    items.map((item) => item.kind),
    items.map((item) => item.jobId),
    items.map((item) => item.round),
    items.map((item) => item.attempt),
  ];
}

/** Where a page of open work ended: the next one begins behind it. */
export type PageCursor = WorkEntry | null;

/**
 * One page of open work, earliest due first.
 * @param dueBefore only what is due before this
 */
export async function readPage(
  database: Queryable,
  { after, dueBefore, limit }: { after: PageCursor; dueBefore: Date | null; limit: number },
): Promise<WorkEntry[]> {
  const behind = '(due_at, kind, job_id, round, attempt) > ($3, $4, $5::uuid, $6::integer, $7::integer)';
  const { rows } = await database.query<OpenWorkRow>(
    `SELECT kind, job_id, round, attempt, due_at FROM open_work
     WHERE due_at < coalesce($1, 'infinity'::timestamptz) ${after === null ? '' : `AND ${behind}`}
     ORDER BY due_at, kind, job_id, round, attempt LIMIT $2`,
    [
      dueBefore,
      limit,
      ...(after === null ? [] : [after.dueAt, after.kind, after.jobId, after.round, after.attempt]),
    ],
  );
  return rows.map(({ kind, job_id, round, attempt, due_at }) => ({
    kind,
    jobId: job_id,
    round,
    attempt,
    dueAt: due_at,
  }));
}
