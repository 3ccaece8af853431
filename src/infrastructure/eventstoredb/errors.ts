import { isCommandError } from '@eventstore/db-client';
import { errorMessage, UnavailableError } from '../../errors.ts';

/** Nothing came back within the time we give a call. */
export class NoAnswerError extends Error {
  constructor(milliseconds: number) {
    super(`No answer within ${milliseconds} ms`);
  }
}

/** The connection of a call was given up, and the call with it. */
export class GivenUpError extends Error {
  constructor() {
    super('The connection was given up');
  }
}

/** The client's `ErrorType`s that say no for good. */
const REFUSALS = new Set([
  'access-denied',
  'invalid-argument',
  'invalid-transaction',
  'maximum-append-size-exceeded',
  'missing-required-metadata-property',
  'stream-deleted',
  'unsupported',
  'wrong-expected-version',
]);

/** gRPC status codes that say the same: INVALID_ARGUMENT, PERMISSION_DENIED, FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED, UNAUTHENTICATED. */
const REFUSED_CODES = new Set([3, 7, 9, 11, 12, 16]);

/**
 * Whether the same call may succeed later. For an append that is all one can know: a timeout, a cut, a cancelled call and
 * `unknown` (which is how a busy server or one without a leader may answer) leave open whether it was made.
 */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof NoAnswerError || error instanceof GivenUpError) return true;
  const type = typeOf(error);
  if (type !== null && REFUSALS.has(type)) return false;
  const code = 'code' in error ? error.code : undefined;
  if (typeof code === 'number') return !REFUSED_CODES.has(code);
  // Errors that the client makes up itself have no code; a cluster that is not found is a plain Error.
  return type !== null || /discover/i.test(error.message);
}

/**
 * The error as the rest of the code knows it. Losses become `UnavailableError`; so does a refused login, which the operator
 * can mend while we run. Everything else is told by its message alone: the client's errors carry the raw call with them.
 */
export function translateError(error: unknown): unknown {
  const type = typeOf(error);
  if (!isTransient(error) && type !== 'access-denied')
    return type === null ? error : new Error(describe(error));
  return unavailable(`EventStoreDB does not answer: ${describe(error)}`);
}

export function unavailable(message: string): UnavailableError {
  return new UnavailableError('event store', message);
}

/** An error's text for logs; some of the client's have none. */
export function describe(error: unknown): string {
  return errorMessage(error) || (typeOf(error) ?? 'no reason given');
}

/** The client's name for an error of its own; null for anything else. */
function typeOf(error: unknown): string | null {
  return error instanceof Error && isCommandError(error) ? error.type : null;
}
