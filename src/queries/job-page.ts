import type { Queryable } from '../database.ts';
import type { Job, JobStatus } from '../events/job.ts';
import { JOB_COLUMNS, jobFromRow } from './job-row.ts';
import type { JobRow } from './job-row.ts';
import { assertFits, mayBeTooLarge, pageFits } from './page-size.ts';

export interface JobListFilter {
  /** Counts from 1. */
  readonly page: number;
  readonly limit: number;
  readonly status: JobStatus | null;
}

/** A job of the page. There is one row without when the page is empty, or holds too much. */
type PageRow = (JobRow | { readonly id: null }) & {
  readonly total: bigint;
  /** Of the page's payloads and results together; 0 when it need not be known. */
  readonly bytes: bigint;
};

/**
 * One page of a user's jobs, newest first, and how many there are, at one moment.
 * @throws PageTooLargeError
 */
export async function readPage(
  database: Queryable,
  userId: string,
  { page, limit, status }: JobListFilter,
): Promise<{ readonly jobs: Job[]; readonly total: number }> {
  const before = (page - 1) * limit;
  const text = select({ byStatus: status !== null, measured: mayBeTooLarge(limit), near: before <= NEAR });
  const values = [userId, limit, before, ...(status === null ? [] : [status])];
  const { rows } = await database.query<PageRow>(text, values);
  assertFits(rows[0]?.bytes ?? 0n);
  const jobs = rows.flatMap((row) => (row.id === null ? [] : [jobFromRow(row)]));
  return { jobs, total: Number(rows[0]?.total ?? 0) };
}

/** So many jobs are passed over sooner than it is found out which end of the list is nearer. */
const NEAR = 200;

const TOTAL = 'pending + processing + done + failed + cancelled';
const TOTAL_OF_STATUS = `CASE $4::text WHEN 'PENDING' THEN pending WHEN 'PROCESSING' THEN processing WHEN 'DONE' THEN done
  WHEN 'FAILED' THEN failed WHEN 'CANCELLED' THEN cancelled END`;

/**
 * A text of its own for each case, so that each has an index that is in the right order. What lies between the page and the nearer end
 * of the list is passed over in that index alone; rows are read by the ids that are left, and sent when they are not too much.
 */
function select({ byStatus, measured, near }: Record<'byStatus' | 'measured' | 'near', boolean>): string {
  const wanted = `FROM jobs WHERE user_id = $1 ${byStatus ? 'AND status = $4' : ''}`;
  const bytes = measured
    ? 'SELECT coalesce(sum(octet_length(payload::text) + coalesce(octet_length(result::text), 0)), 0) AS bytes FROM listed'
    : 'SELECT 0::bigint AS bytes';
  return `
    WITH counted AS (
      SELECT coalesce((SELECT ${byStatus ? TOTAL_OF_STATUS : TOTAL} FROM job_totals WHERE user_id = $1), 0) AS total
    ),
    ${near ? fromTheBeginning(wanted) : fromTheNearerEnd(wanted)},
    listed AS (
      SELECT job.* FROM page CROSS JOIN LATERAL (SELECT ${JOB_COLUMNS} FROM jobs WHERE id = page.id LIMIT 1) job
    )
    SELECT counted.total, held.bytes, listed.*
    FROM counted
    CROSS JOIN (${bytes}) held
    LEFT JOIN listed ON ${pageFits('held.bytes')}
    ORDER BY created_at DESC, id DESC`;
}

const fromTheBeginning = (wanted: string): string =>
  `page AS (SELECT id ${wanted} ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3)`;

const fromTheNearerEnd = (wanted: string): string => `
    -- How many come before the page, are in it, and come behind.
    place AS MATERIALIZED (
      SELECT $3::bigint AS before, least($2, greatest(total - $3, 0)) AS size, greatest(total - $3 - $2, 0) AS behind FROM counted
    ),
    page AS (
      (SELECT id ${wanted} ORDER BY created_at DESC, id DESC
       LIMIT (SELECT CASE WHEN before <= behind THEN size ELSE 0 END FROM place) OFFSET $3)
      UNION ALL
      (SELECT id ${wanted} ORDER BY created_at, id
       LIMIT (SELECT CASE WHEN before <= behind THEN 0 ELSE size END FROM place) OFFSET (SELECT behind FROM place))
    )`;
