import type { Database } from '../database.ts';

interface JobLogLine {
  readonly id: string;
  readonly jobId: string;
  readonly message: string;
  /** ISO 8601, UTC. */
  readonly createdAt: string;
}

interface JobLogRow {
  readonly id: string;
  readonly job_id: string;
  readonly message: string;
  readonly created_at: Date;
}

export interface JobLogQueries {
  /**
   * One page of a job's log, oldest line first. Whose job it is must have been checked.
   * @param page counts from 1
   */
  list(
    jobId: string,
    options: { readonly page: number; readonly limit: number },
  ): Promise<{ readonly lines: JobLogLine[]; readonly total: number }>;
}

export function createJobLogQueries(database: Database): JobLogQueries {
  return {
    async list(jobId, { page, limit }) {
      const [listed, counted] = await Promise.all([
        database.query<JobLogRow>(
          `SELECT id, job_id, message, created_at FROM job_logs WHERE job_id = $1
           ORDER BY position, line LIMIT $2 OFFSET $3`,
          [jobId, limit, (page - 1) * limit],
        ),
        database.query<{ total: bigint }>('SELECT count(*) AS total FROM job_logs WHERE job_id = $1', [
          jobId,
        ]),
      ]);
      const lines = listed.rows.map((row) => ({
        id: row.id,
        jobId: row.job_id,
        message: row.message,
        createdAt: row.created_at.toISOString(),
      }));
      return { lines, total: Number(counted.rows[0]?.total ?? 0) };
    },
  };
}
