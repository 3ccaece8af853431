import { z } from 'zod';
import type { Json } from '../events/job.ts';

/** Levels of objects and arrays, the payload itself included. */
const MAX_PAYLOAD_DEPTH = 32;

export type JsonObject = Readonly<Record<string, Json>>;

/** NUL and halves of surrogate pairs: Postgres's JSON takes neither. */
const UNSTORABLE = /[\0\p{Surrogate}]/u;

interface Problem {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** A JSON object that comes back from every store exactly as it was sent; what would not is refused. */
export const payloadSchema = z.unknown().transform((value, context): JsonObject => {
  if (!isJsonObject(value)) {
    context.addIssue('Payload must be an object');
    return z.NEVER;
  }
  const problem = findProblem(value, []);
  if (problem === null) return value;
  context.addIssue({ code: 'custom', path: [...problem.path], message: problem.message });
  return z.NEVER;
});

function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function findProblem(value: Json, path: readonly (string | number)[]): Problem | null {
  if (typeof value === 'string') {
    return UNSTORABLE.test(value) ? { path, message: 'Text must not contain NUL or lone surrogates' } : null;
  }
  if (typeof value === 'number') return numberProblem(value, path);
  if (typeof value !== 'object' || value === null) return null;
  if (path.length >= MAX_PAYLOAD_DEPTH) {
    return { path: [], message: `Payload must not be nested deeper than ${MAX_PAYLOAD_DEPTH} levels` };
  }
  if (Array.isArray(value)) return firstProblem(value.entries(), path);
  return (
    Object.keys(value)
      .map(keyProblem(path))
      .find((found) => found !== null) ?? firstProblem(Object.entries(value), path)
  );
}

function firstProblem(
  entries: Iterable<readonly [string | number, Json]>,
  path: Problem['path'],
): Problem | null {
  for (const [key, value] of entries) {
    const problem = findProblem(value, [...path, key]);
    if (problem !== null) return problem;
  }
  return null;
}

const keyProblem =
  (path: Problem['path']) =>
  (key: string): Problem | null => {
    // Assigned to an object, this key would set its prototype and be gone: no copy of the payload could hold it.
    if (key === '__proto__') return { path, message: 'The key "__proto__" is not allowed' };
    return UNSTORABLE.test(key) ? { path, message: 'Keys must not contain NUL or lone surrogates' } : null;
  };

/**
 * What JSON.parse could not hold: 1e400 became Infinity, and 12345678901234567890 another number. From 1e21 on,
 * numbers are written with an exponent and meant as approximate.
 */
function numberProblem(value: number, path: Problem['path']): Problem | null {
  if (!Number.isFinite(value)) return { path, message: 'Number is out of range' };
  if (!Number.isInteger(value) || Number.isSafeInteger(value) || Math.abs(value) >= 1e21) return null;
  return { path, message: 'Integer is too large to be exact: send it as a string' };
}
