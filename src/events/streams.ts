import { JOB_LOG_PREFIX, JOB_PREFIX } from './job.ts';
import { WEBHOOK_PREFIX } from './webhook.ts';

/** Every stream that is ours begins with one of these. */
export const STREAM_PREFIXES: readonly string[] = [JOB_PREFIX, JOB_LOG_PREFIX, WEBHOOK_PREFIX];

/** As we write them: Postgres would take capitals and braces for the same id, but streams of such names are others'. */
const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}';
const ROUND = '[1-9][0-9]{0,9}';
const OWN = new RegExp(
  `^(?:${JOB_PREFIX}${UUID}|${JOB_LOG_PREFIX}${UUID}|${WEBHOOK_PREFIX}${UUID}-${ROUND})$`,
);

/**
 * Whether a stream's name has exactly the form of one that we write. In an EventStoreDB that others use as well, a prefix
 * alone proves nothing; what stands in a stream of another form is none of our business.
 */
export function isOwnStream(name: string): boolean {
  return OWN.test(name);
}
