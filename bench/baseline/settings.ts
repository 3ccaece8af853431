import { createSecretKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { Redis } from 'ioredis';
import pg from 'pg';
import { z } from 'zod';

/** What both processes of the baseline share. */
export const settings = z
  .object({
    DATABASE_URL: z.string(),
    REDIS_URL: z.string(),
    JWT_ACCESS_SECRET: z.string(),
    PORT: z.coerce.number().default(0),
    RATE_LIMIT_JOBS_PER_MINUTE: z.coerce.number(),
    WORKER_CONCURRENCY: z.coerce.number().default(10),
  })
  .parse(process.env);

export const QUEUE = 'jobs';
/** Redis channel of everything that happens to jobs. */
export const UPDATES = 'job-updates';

/** A KeyObject: with a string, jsonwebtoken makes one for every request. */
export const accessKey: KeyObject = createSecretKey(settings.JWT_ACCESS_SECRET, 'utf8');

/** Statements of one connection are sent without waiting for the answers to those before. */
export const createPool = (): pg.Pool =>
  new pg.Pool({ connectionString: settings.DATABASE_URL, max: 10, pipeline: true });
/** @param pipelined sends the commands of one turn together: good where many requests share a connection */
export const createRedis = ({ pipelined = true } = {}): Redis =>
  new Redis(settings.REDIS_URL, { maxRetriesPerRequest: null, enableAutoPipelining: pipelined });

/** With the user in it, a hit needs no look at whose job it is. */
export const cacheKey = (userId: string, jobId: string): string => `job:${userId}:${jobId}`;

export interface JobRow {
  readonly id: string;
  readonly user_id: string;
  readonly type: string;
  readonly payload: unknown;
  readonly webhook_url: string | null;
  readonly status: string;
  readonly result: unknown;
  readonly error: string | null;
  readonly created_at: Date;
  readonly updated_at: Date;
}

export const viewOf = (row: JobRow) => ({
  id: row.id,
  userId: row.user_id,
  type: row.type,
  status: row.status,
  payload: row.payload,
  result: row.result,
  error: row.error,
  webhookUrl: row.webhook_url,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});
