import { z } from 'zod';
import { JOB_STATUSES } from '../../events/job.ts';
import { payloadSchema } from '../json-payload.ts';

const MAX_TYPE_LENGTH = 100;
const MAX_URL_LENGTH = 2_048;

const JOB_ENDS = ['DONE', 'FAILED', 'CANCELLED'] as const;
const webhookEventsMessage = `webhookEvents must be a list of ${JOB_ENDS.join(', ')}`;
const webhookEvents = z
  .array(z.enum(JOB_ENDS, { error: webhookEventsMessage }), { error: webhookEventsMessage })
  .max(JOB_ENDS.length, webhookEventsMessage)
  .transform((ends) => JOB_ENDS.filter((end) => ends.includes(end)));

const webhookUrl = z
  .string({ error: 'Invalid webhook URL' })
  .max(MAX_URL_LENGTH, { error: `Webhook URL must be at most ${MAX_URL_LENGTH} characters`, abort: true })
  .refine(isHttpUrl, 'Invalid webhook URL');

/** A number in a body, null for one that is not given. */
const integer = (name: string, least: number, most: number) => {
  const error = `${name} must be a whole number from ${least} to ${most}`;
  return z
    .int({ error })
    .min(least, error)
    .max(most, error)
    .nullish()
    .transform((value) => value ?? null);
};

/** The longest an attempt may take: a day. */
const MAX_TIMEOUT_MS = 86_400_000;
/** The furthest ahead a job may be put: a year of 365 days. */
const MAX_DELAY_MS = 31_536_000_000;

const runAt = z.iso
  .datetime({ offset: true, error: 'runAt must be a time such as 2026-05-19T10:00:00Z' })
  .transform((text) => Date.parse(text))
  .refine((time) => time <= Date.now() + MAX_DELAY_MS, 'runAt must be at most a year ahead')
  .nullish()
  .transform((time) => time ?? null);

/** What a job's type may be. @param error for one that is missing or no text */
export const jobType = (error: string) =>
  z
    .string({ error })
    .min(1, error)
    .max(MAX_TYPE_LENGTH, `Job type must be at most ${MAX_TYPE_LENGTH} characters`)
    .regex(/^[^\p{Cc}\p{Surrogate}]*$/u, 'Job type must not contain control characters');

/** What a submission may say, as it was sent; fields it does not know are ignored. `runAt` in milliseconds since the epoch. */
export const newJobSchema = z
  .object({
    type: jobType('Job type is required'),
    payload: payloadSchema,
    webhookUrl: webhookUrl.nullish().transform((url) => url ?? null),
    /** The ends that `webhookUrl` is told of. */
    webhookEvents: webhookEvents.nullish().transform((ends) => ends ?? (['DONE', 'FAILED'] as const)),
    maxAttempts: integer('maxAttempts', 1, 100),
    timeoutMs: integer('timeoutMs', 1, MAX_TIMEOUT_MS),
    delayMs: integer('delayMs', 0, MAX_DELAY_MS),
    runAt,
  })
  .refine(({ delayMs, runAt }) => delayMs === null || runAt === null, {
    path: ['delayMs'],
    error: 'Give delayMs or runAt, not both',
  });

export type NewJob = z.output<typeof newJobSchema>;

/** When a job that is submitted now may start. A time that has passed means the same as none: at once. */
export function startTimeOf({ delayMs, runAt }: Pick<NewJob, 'delayMs' | 'runAt'>): string | null {
  const now = Date.now();
  const time = delayMs === null ? runAt : now + delayMs;
  return time !== null && time > now ? new Date(time).toISOString() : null;
}

/** Of `DELETE`: `force` also reaches a running job. */
export const cancelJobSchema = z.object({
  force: z.enum(['true', 'false'], { error: 'force must be true or false' }).default('false'),
});

/** A whole number in a query. One that is given twice arrives as an array. */
const wholeNumber = (name: string, least: number, most: number) =>
  z
    .string({ error: `${name} must be given once` })
    .regex(/^-?\d+$/, `${name} must be a whole number`)
    // Any number of digits is a number, and too large is all that it is.
    .transform((digits) => Math.max(-1, Math.min(Number(digits), Number.MAX_SAFE_INTEGER)))
    .pipe(
      z.int().min(least, `${name} must be at least ${least}`).max(most, `${name} must be at most ${most}`),
    );

const page = wholeNumber('page', 1, 1_000_000).default(1);

export const listJobsSchema = z.object({
  page,
  limit: wholeNumber('limit', 1, 100).default(10),
  status: z.enum(JOB_STATUSES, { error: `status must be one of ${JOB_STATUSES.join(', ')}` }).optional(),
});

const MAX_REVISION = 999_999_999;

/** A time in a query. The plus of an offset arrives as a space when it was not escaped. */
const time = (name: string) =>
  z
    .string({ error: `${name} must be given once` })
    .pipe(
      z.iso.datetime({
        offset: true,
        error: `${name} must be a time such as 2026-05-19T10:00:00Z; the + of an offset is written %2B in a URL`,
      }),
    )
    .transform((text) => Date.parse(text));

export const getJobSchema = z
  .object({
    minRevision: wholeNumber('minRevision', 0, MAX_REVISION).optional(),
    at: time('at').optional(),
    revision: wholeNumber('revision', 0, MAX_REVISION).optional(),
  })
  .refine(({ at, revision }) => at === undefined || revision === undefined, {
    path: ['revision'],
    error: 'Give at or revision, not both',
  })
  .refine(({ minRevision, at, revision }) => minRevision === undefined || (at ?? revision) === undefined, {
    path: ['minRevision'],
    error: 'minRevision waits for what is to come: give it without at and revision',
  })
  .transform(({ minRevision = 0, at, revision }) => {
    const moment = at !== undefined ? { at } : revision !== undefined ? { revision } : null;
    return { minRevision, moment };
  });

/** A page may be shorter: see `readTrail`. */
export const jobEventsSchema = z.object({
  limit: wholeNumber('limit', 1, 1_000).default(100),
  cursor: z.string({ error: 'cursor must be given once' }).optional(),
});

/** A log comes whole unless it is a long one. */
export const jobLogsSchema = z.object({ page, limit: wholeNumber('limit', 1, 1_000).default(1_000) });

/** Each entry holds what was sent, which may be a few hundred kilobytes. */
export const webhookLogsSchema = z.object({ page, limit: wholeNumber('limit', 1, 100).default(100) });

/** The string is kept as it was written, so what URL would silently mend or escape is refused. */
function isHttpUrl(text: string): boolean {
  if (/[\s\p{Cc}\p{Surrogate}]/u.test(text)) return false;
  return /^https?:\/\//i.test(text) && URL.canParse(text);
}
