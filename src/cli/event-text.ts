import type { PositionedEvent, RecordedEvent } from '../events/event-store.ts';

/** An event as it is printed. What is in it may be personal: it is shown on demand only. */
export interface EventTextOptions {
  readonly data: boolean;
}

/** An event as a line for people: when, where, what, who, and what it is about. */
export function eventText(event: RecordedEvent | PositionedEvent, { data }: EventTextOptions): string {
  const { stream, revision, type, metadata } = event;
  const place = `${stream}@${revision}`;
  const position = 'position' in event ? [event.position.toString().padStart(8)] : [];
  const { kind, id } = metadata.actor;
  const text = [...position, metadata.occurredAt, place, type, `${kind} ${id}`, factsOf(event)];
  return printable(
    [...text, ...(data ? [JSON.stringify(event.data)] : [])].filter((part) => part !== '').join('  '),
  );
}

/** The same as one line of JSON. */
export function eventJson(event: RecordedEvent | PositionedEvent, { data }: EventTextOptions): string {
  const { stream, revision, id, type, metadata } = event;
  return printable(
    JSON.stringify({
      ...('position' in event && { position: event.position.toString() }),
      stream,
      revision,
      id,
      type,
      ...metadata,
      ...(data && { data: event.data }),
    }),
  );
}

/** What of an event's data is a number or a time of ours, never what a user or a handler wrote. */
function factsOf({ data }: RecordedEvent): string {
  const facts = [
    'round',
    'attempt',
    'maxAttempts',
    'statusCode',
    'percent',
    'retryAt',
    'nextAttemptAt',
    'runAt',
  ];
  return facts
    .filter((name) => ['number', 'string'].includes(typeof data[name]))
    .map((name) => `${name}=${String(data[name])}`)
    .join(' ');
}

/**
 * Text as it may go to a terminal: JSON leaves characters alone that would move its cursor or turn its text around. They only stand in
 * strings, where the escape means the same.
 */
export function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
