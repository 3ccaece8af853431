import type { Job } from '../events/job.ts';

/**
 * What a receiver is told of a job's end, as the exact text that is signed and sent: parsing and writing it again gives the
 * same bytes, as receivers that verify a parsed body rely on.
 * @param job as its end left it
 */
export function webhookBody({ id, type, status, result, error, updatedAt }: Job): string {
  return JSON.stringify({
    jobId: id,
    type,
    status,
    result,
    timestamp: updatedAt,
    ...(status === 'FAILED' && { error }),
  });
}
