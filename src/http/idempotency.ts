import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { v5 as uuidv5 } from 'uuid';
import { ValidationError } from './validation.ts';

/** Of the ids of jobs that were submitted with a key. It never changes: keys in use would lead to other jobs. */
const NAMESPACE = '64c70435-69c6-44a8-83d2-8988187d6de7';
const KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * The key that a client gave its submission, as it was sent; null without one.
 * @throws ValidationError when it is none, or there are several
 */
export function idempotencyKeyOf({
  headersDistinct,
}: Pick<IncomingMessage, 'headersDistinct'>): string | null {
  const given = headersDistinct['idempotency-key'];
  if (given === undefined) return null;
  const [key = '', ...others] = given;
  if (others.length > 0) throw invalid('must be given once');
  if (!KEY.test(key)) throw invalid('must be 1 to 255 visible ASCII characters');
  return key;
}

function invalid(problem: string): ValidationError {
  return new ValidationError({ 'Idempotency-Key': [`Idempotency-Key ${problem}`] });
}

/** A user's key always leads to the same job, and two users' keys never to one. */
export function jobIdOfKey(userId: string, key: string): string {
  return uuidv5(`${userId} ${key}`, NAMESPACE);
}

/**
 * SHA-256 in hex of what a submission asks for, as it was sent: `delayMs`, not the time that it leads to. White space, the order of
 * keys, fields that are null or unknown and the offset of `runAt` make no difference.
 */
export function hashOfRequest(request: object): string {
  // What is not given is left out, so that a field that a later version brings changes no hash.
  const given = Object.entries(request).filter(([, value]) => value !== null);
  return createHash('sha256')
    .update(JSON.stringify(Object.fromEntries(given), inOrder))
    .digest('hex');
}

/** For `JSON.stringify`: objects with their keys in order. */
function inOrder(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
