import { MAX_WEBHOOK_ROUNDS } from '../queries/job-trail.ts';
import type { TrailPlace } from '../queries/job-trail.ts';

const VERSION = '1';
/** What both stores take as a revision. */
const MAX_REVISION = 2 ** 31 - 1;
const NONE = '-';

/** A place in a job's trail as clients keep it, without a meaning to them. It belongs to that job alone. */
export function encodeTrailCursor(jobId: string, { job, log, webhooks }: TrailPlace): string {
  const text = [VERSION, jobId, job, log, runsOf(webhooks).join(',')].join('.');
  return Buffer.from(text).toString('base64url');
}

/** @returns null for what {@link encodeTrailCursor} did not write for this job */
export function decodeTrailCursor(jobId: string, cursor: string): TrailPlace | null {
  const [version, ofJob, job, log, runs, ...more] = Buffer.from(cursor, 'base64url')
    .toString('latin1')
    .split('.');
  if (version !== VERSION || ofJob !== jobId || runs === undefined || more.length > 0) return null;
  const place = { job: revision(job), log: revision(log), webhooks: webhooksOf(runs) };
  if (place.job === null || place.log === null || place.webhooks === null) return null;
  return { job: place.job, log: place.log, webhooks: place.webhooks };
}

/** `7` for a single one, `7*3` for three in a row: most webhooks of a job that was retried often look the same. */
function runsOf(webhooks: TrailPlace['webhooks']): string[] {
  const runs: { value: number | null; count: number }[] = [];
  for (const value of webhooks) {
    const last = runs.at(-1);
    if (last?.value === value) last.count++;
    else runs.push({ value, count: 1 });
  }
  return runs.map(({ value, count }) => `${value ?? NONE}${count === 1 ? '' : `*${count}`}`);
}

function webhooksOf(text: string): (number | null)[] | null {
  const webhooks: (number | null)[] = [];
  for (const run of text === '' ? [] : text.split(',')) {
    const [, value = '', times = '1'] = /^(-|\d{1,10})(?:\*(\d{1,4}))?$/.exec(run) ?? [];
    const next = value === NONE ? null : revision(value);
    if ((next === null && value !== NONE) || webhooks.length + Number(times) > MAX_WEBHOOK_ROUNDS)
      return null;
    webhooks.push(...Array.from({ length: Number(times) }, () => next));
  }
  return webhooks;
}

function revision(digits: string | undefined): number | null {
  if (digits === undefined || !/^\d{1,10}$/.test(digits)) return null;
  const number = Number(digits);
  return number <= MAX_REVISION ? number : null;
}
