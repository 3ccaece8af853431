import { z } from 'zod';
import { jobType } from './job-schemas.ts';

/** Days of a span, the first and the last included. */
const DEFAULT_DAYS = 30;
const MAX_DAYS = 366;
/** Entries of a day and a type in one answer. */
export const MAX_STATS_ENTRIES = 5_000;

const DAY_MS = 86_400_000;
const FIRST_DAY = '1970-01-01';

const day = (name: string) => {
  const error = `${name} must be a date such as 2026-05-19`;
  return z.iso
    .date({ error, abort: true })
    .refine((text) => text >= FIRST_DAY, `${name} must not be before ${FIRST_DAY}`)
    .optional();
};

/** The day so many days later, of UTC. */
function plusDays(text: string, days: number): string {
  return new Date(Date.parse(text) + days * DAY_MS).toISOString().slice(0, FIRST_DAY.length);
}

/** Of `GET /api/stats`. Without `to` the span ends today, without `from` it has 30 days. */
export const statsSchema = z
  .object({
    from: day('from'),
    to: day('to'),
    type: jobType('type must be given once, and not be empty').optional(),
  })
  .transform(({ from, to = plusDays(FIRST_DAY, Math.floor(Date.now() / DAY_MS)), type = null }) => ({
    from: from ?? plusDays(to, 1 - DEFAULT_DAYS),
    to,
    type,
  }))
  .refine(({ from, to }) => from <= to, { path: ['from'], error: 'from must not be after to' })
  .refine(({ from, to }) => Date.parse(to) - Date.parse(from) < MAX_DAYS * DAY_MS, {
    path: ['from'],
    error: `The span must have at most ${MAX_DAYS} days`,
  });
