import { MAX_RESULT_BYTES } from '../commands/job-decider.ts';
import { errorMessage } from '../errors.ts';
import { isDeeperThan, MAX_JSON_DEPTH } from '../events/json.ts';
import type { Json } from '../events/json.ts';
import { NonRetryableError } from './handler.ts';

/**
 * What a handler returned as JSON text: `undefined` becomes null, NaN and infinities null, dates ISO strings.
 * @throws NonRetryableError it is no JSON, too deep or too large: running the handler again would not help
 */
export function resultJson(result: unknown): string {
  const text = stringify(result);
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_RESULT_BYTES) {
    throw new NonRetryableError(
      `The handler's result of ${bytes} bytes exceeds the limit of ${MAX_RESULT_BYTES}`,
    );
  }
  if (isDeeperThan(JSON.parse(text) as Json, MAX_JSON_DEPTH)) {
    throw new NonRetryableError(`The handler's result has more than ${MAX_JSON_DEPTH} levels`);
  }
  return text;
}

function stringify(result: unknown): string {
  if (result === undefined) return 'null';
  let text: unknown;
  try {
    text = JSON.stringify(result);
  } catch (error) {
    throw new NonRetryableError(`The handler's result is not JSON: ${errorMessage(error)}`, { cause: error });
  }
  // JSON.stringify answers undefined for a function or a symbol.
  if (typeof text !== 'string')
    throw new NonRetryableError(`The handler's result is not JSON: it is a ${typeof result}`);
  return text;
}
