import { auditSealsProjection } from '../audit/seals-projection.ts';
import { jobLogsProjection } from './job-logs.ts';
import { jobStatsProjection } from './job-stats.ts';
import { jobsProjection } from './jobs.ts';
import { webhookLogsProjection } from './webhook-logs.ts';
import type { Projection } from './projection.ts';

/** Every read model. A new one is a file beside these, a migration for its table, and a place in this list. */
export const projections: readonly Projection[] = [
  jobsProjection,
  jobLogsProjection,
  webhookLogsProjection,
  jobStatsProjection,
  auditSealsProjection,
];
