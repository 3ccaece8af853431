/** Statuses and the columns of `job_totals` that count them. */
const COLUMNS = {
  PENDING: 'pending',
  PROCESSING: 'processing',
  DONE: 'done',
  FAILED: 'failed',
  CANCELLED: 'cancelled',
} as const;

const counts = Object.entries(COLUMNS);
const names = Object.values(COLUMNS);

/**
 * One statement that changes rows of `jobs` and, by as much, the totals of their users. Totals are numbers of jobs at the end of a batch, so
 * that they are the same wherever batches are cut.
 * @param change names of CTEs and their SELECTs, of which `entered` has a `user_id` and the `status` of each job that came to be in it,
 * and `left_behind` those that jobs were in before
 */
export function withTotals(change: string): string {
  return `
    WITH ${change},
    delta AS (
      SELECT user_id, status, 1 AS n FROM entered UNION ALL SELECT user_id, status, -1 FROM left_behind
    )
    INSERT INTO job_totals (user_id, ${names.join(', ')})
    SELECT user_id, ${counts.map(([status]) => `coalesce(sum(n) FILTER (WHERE status = '${status}'), 0)`).join(', ')}
    FROM delta GROUP BY user_id
    ON CONFLICT (user_id) DO UPDATE
      SET ${names.map((name) => `${name} = job_totals.${name} + excluded.${name}`).join(', ')}`;
}
