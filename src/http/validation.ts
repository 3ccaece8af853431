import type { z } from 'zod';
import { AppError } from '../errors.ts';

/** What is wrong, field by field; nested fields are written `payload.to`. */
export type FieldErrors = Readonly<Record<string, readonly string[]>>;

export class ValidationError extends AppError {
  readonly errors: FieldErrors;

  constructor(errors: FieldErrors) {
    super('VALIDATION', 'Validation error', { errors });
    this.errors = errors;
  }
}

/**
 * What a client sent, as the schema reads it.
 * @param input a parsed body, or a query; undefined (no JSON body) counts as an empty object
 * @throws ValidationError
 */
export function validate<Schema extends z.ZodType>(schema: Schema, input: unknown): z.output<Schema> {
  const parsed = schema.safeParse(input ?? {});
  if (parsed.success) return parsed.data;
  if (parsed.error.issues.some(({ path }) => path.length === 0) && !isObject(input ?? {}))
    throw new ValidationError({ body: ['The body must be a JSON object'] });
  const errors = new Map<string, string[]>();
  for (const { path, message } of parsed.error.issues) {
    const field = path.join('.') || 'body';
    errors.set(field, [...new Set([...(errors.get(field) ?? []), message])]);
  }
  throw new ValidationError(Object.fromEntries(errors));
}

function isObject(input: unknown): boolean {
  return typeof input === 'object' && !Array.isArray(input);
}
