import { AppError, errorMessage } from '../errors.ts';
import type { PayloadIssue, PayloadSchema } from './handler.ts';

/** Messages a refusal lists at most: a payload may hold as many mistakes as it has bytes. */
const MAX_ISSUES = 100;

/** A handler's schema threw or answered with a promise: the fault is the handler's, not the payload's. */
export class BrokenPayloadSchemaError extends AppError {
  readonly retryable = false;

  constructor(type: string, why: string, options?: ErrorOptions) {
    super('BROKEN_PAYLOAD_SCHEMA', `The payload schema of ${type} cannot be used: ${why}`, { type }, options);
  }
}

export type ParsedPayload =
  | { readonly ok: true; readonly data: unknown }
  | { readonly ok: false; readonly errors: Readonly<Record<string, string[]>> };

/**
 * Checks a payload against a handler's schema.
 * @returns what the schema made of it, or the messages by field: `items.0.price`, and '' for the payload as a whole
 * @throws BrokenPayloadSchemaError
 */
export function parsePayload(type: string, schema: PayloadSchema, payload: unknown): ParsedPayload {
  try {
    const parsed = schema.safeParse(payload);
    if ('then' in parsed) throw new Error('it is asynchronous');
    if (parsed.success) return { ok: true, data: parsed.data };
    return { ok: false, errors: messagesByField(parsed.error.issues) };
  } catch (error) {
    throw new BrokenPayloadSchemaError(type, errorMessage(error), { cause: error });
  }
}

function messagesByField(issues: readonly PayloadIssue[]): Record<string, string[]> {
  const fields = new Map<string, string[]>();
  for (const { path, message } of issues.slice(0, MAX_ISSUES)) {
    const field = path.map(String).join('.');
    fields.set(field, [...(fields.get(field) ?? []), message]);
  }
  return Object.fromEntries(fields);
}
