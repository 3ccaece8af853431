/** The form in which the service writes times, in years that Postgres can hold. */
const FORM = /^(?!0000)\d{4}-\d{2}-\d{2}T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?Z$/;

/** When an event occurred; null when it does not say so in the form in which the service writes times. */
export function occurredAt({ metadata }: { readonly metadata: unknown }): Date | null {
  const { occurredAt: text } = (metadata ?? {}) as { readonly occurredAt?: unknown };
  if (typeof text !== 'string' || !FORM.test(text)) return null;
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return null;
  // Of a day that is none, such as February 30, the parser makes another one.
  return time.toISOString().slice(0, 10) === text.slice(0, 10) ? time : null;
}
