import type { z } from 'zod';
import { AppError } from '../errors.ts';
import type { EventMetadata, NewEvent, RecordedEvent } from './event-store.ts';
import { jobEventSchemas, jobLogEventSchemas } from './job.ts';
import type { JobEvent, JobLogEvent } from './job.ts';

/** Everything the service knows how to read. */
export type DomainEvent = JobEvent | JobLogEvent;

/** Turns the data of one stored version into the shape of the next. */
type Upcaster = (data: Readonly<Record<string, unknown>>) => Record<string, unknown>;

const schemas: Readonly<Record<string, z.ZodType>> = { ...jobEventSchemas, ...jobLogEventSchemas };

/**
 * Upcasters by event type: the one at index 0 turns version 1 into version 2, and so on. A type's current version is
 * the count of its upcasters plus one. Shapes that were ever stored stay readable for ever; see
 * `docs/evolving-events.md` and `test/fixtures/events/`.
 */
const upcasters: Readonly<Record<string, readonly Upcaster[]>> = {};

/** A stored event this build cannot read: of an unknown type, of a newer version, or with data that does not fit. */
export class UndecodableEventError extends AppError {
  constructor(event: RecordedEvent, why: string) {
    super(
      'UNDECODABLE_EVENT',
      `Event ${event.id} (${event.type}, ${event.stream}@${event.revision}) cannot be read: ${why}`,
      { eventId: event.id, type: event.type, stream: event.stream, revision: event.revision },
    );
  }
}

/** The version that new events of a type are written with. */
export function currentVersion(type: string): number {
  return (upcasters[type]?.length ?? 0) + 1;
}

/** The stored form of an event. `id` is a UUID, `metadata` lacks only the schema version, which follows from the type. */
export function encodeEvent(
  event: DomainEvent,
  id: string,
  metadata: Omit<EventMetadata, 'schemaVersion'>,
): NewEvent {
  return {
    id,
    type: event.type,
    data: event.data,
    metadata: { schemaVersion: currentVersion(event.type), ...metadata },
  };
}

/**
 * A stored event as the code of today knows it: brought up to the current version, then checked.
 * @throws UndecodableEventError
 */
export function decodeEvent(recorded: RecordedEvent): DomainEvent {
  const schema = schemas[recorded.type];
  if (!schema) throw new UndecodableEventError(recorded, 'its type is unknown');
  const version = recorded.metadata.schemaVersion;
  const steps = upcasters[recorded.type] ?? [];
  if (!Number.isInteger(version) || version < 1 || version > steps.length + 1) {
    throw new UndecodableEventError(recorded, `its version ${version} is not one of 1 to ${steps.length + 1}`);
  }
  const data = steps.slice(version - 1).reduce((older, upcast) => upcast(older), recorded.data);
  const parsed = schema.safeParse(data);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new UndecodableEventError(recorded, `${issue?.path.join('.') || 'data'}: ${issue?.message ?? 'does not fit'}`);
  }
  return { type: recorded.type, data: parsed.data } as DomainEvent;
}

/** Whether a decoded event belongs to a job's own stream. */
export function isJobEvent(event: DomainEvent): event is JobEvent {
  return event.type in jobEventSchemas;
}
