import { z } from 'zod';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/**
 * Levels of arrays and objects a stored value may have. `JSON.stringify` and Postgres's parser recurse: what one stack
 * could still write, a fuller one could not read, and an event nobody can read stops every projection.
 */
export const MAX_JSON_DEPTH = 200;

/** Whether a value has more than `most` levels of arrays and objects. Looks no deeper than that. */
export function isDeeperThan(value: Json, most: number): boolean {
  if (value === null || typeof value !== 'object') return false;
  if (most === 0) return true;
  return Object.values(value).some((inner) => isDeeperThan(inner, most - 1));
}

/**
 * A JSON value inside an event. What was stored came out of a JSON parser and needs no second look at each node:
 * `z.json()` takes 150 ms for a payload of 512 KiB, drops `__proto__` keys and overflows the stack at 4,000 levels.
 */
export const json = z.custom<Json>((value) => value !== undefined, 'must be a JSON value');

export const jsonObject = z.custom<Readonly<Record<string, Json>>>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'must be a JSON object',
);

/** Text that a Postgres column keeps as it is: no NUL, no lone surrogates. */
export const plainText = z
  .string()
  .refine((text) => toPlainText(text) === text, 'must be text without NUL characters');

/** The nearest text that passes {@link plainText}. */
export function toPlainText(text: string): string {
  return Buffer.from(text).toString().replaceAll('\u0000', '\uFFFD');
}
