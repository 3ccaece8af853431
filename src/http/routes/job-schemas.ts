import { z } from 'zod';
import { JOB_STATUSES } from '../../events/job.ts';
import { payloadSchema } from '../json-payload.ts';

const MAX_TYPE_LENGTH = 100;
const MAX_URL_LENGTH = 2_048;

const webhookUrl = z
  .string({ error: 'Invalid webhook URL' })
  .max(MAX_URL_LENGTH, { error: `Webhook URL must be at most ${MAX_URL_LENGTH} characters`, abort: true })
  .refine(isHttpUrl, 'Invalid webhook URL');

export const newJobSchema = z.object({
  type: z
    .string({ error: 'Job type is required' })
    .min(1, 'Job type is required')
    .max(MAX_TYPE_LENGTH, `Job type must be at most ${MAX_TYPE_LENGTH} characters`)
    .regex(/^[^\p{Cc}\p{Surrogate}]*$/u, 'Job type must not contain control characters'),
  payload: payloadSchema,
  webhookUrl: webhookUrl.nullish().transform((url) => url ?? null),
});

/** A whole number in a query. One that is given twice arrives as an array. */
const wholeNumber = (name: string, least: number, most: number) =>
  z
    .string({ error: `${name} must be given once` })
    .regex(/^\d{1,9}$/, `${name} must be a whole number`)
    .transform(Number)
    .pipe(
      z.int().min(least, `${name} must be at least ${least}`).max(most, `${name} must be at most ${most}`),
    );

const page = wholeNumber('page', 1, 1_000_000).default(1);

export const listJobsSchema = z.object({
  page,
  limit: wholeNumber('limit', 1, 100).default(10),
  status: z.enum(JOB_STATUSES, { error: `status must be one of ${JOB_STATUSES.join(', ')}` }).optional(),
});

export const getJobSchema = z.object({
  minRevision: wholeNumber('minRevision', 0, 999_999_999).default(0),
});

/** A log comes whole unless it is a long one. */
export const jobLogsSchema = z.object({ page, limit: wholeNumber('limit', 1, 1_000).default(1_000) });

/** The string is kept as it was written, so what URL would silently mend or escape is refused. */
function isHttpUrl(text: string): boolean {
  if (/[\s\p{Cc}\p{Surrogate}]/u.test(text)) return false;
  return /^https?:\/\//i.test(text) && URL.canParse(text);
}
