import type { z } from 'zod';
import { AppError, errorMessage } from '../errors.ts';
import type { EventMetadata, NewEvent, RecordedEvent } from './event-store.ts';
import { jobEventSchemas, jobLogEventSchemas } from './job.ts';
import type { JobEvent, JobLogEvent } from './job.ts';
import { webhookEventSchemas } from './webhook.ts';
import type { WebhookEvent } from './webhook.ts';

/** Everything the service knows how to read. */
export type DomainEvent = JobEvent | JobLogEvent | WebhookEvent;

/** Turns the data of one stored version into the shape of the next. */
export type Upcaster = (data: Readonly<Record<string, unknown>>) => Record<string, unknown>;

const schemas: Readonly<Record<DomainEvent['type'], z.ZodType>> = {
  ...jobEventSchemas,
  ...jobLogEventSchemas,
  ...webhookEventSchemas,
};

/**
 * Upcasters by event type: the one at index 0 turns version 1 into version 2, and so on. A type's current version is
 * the count of its upcasters plus one. Shapes that were ever stored stay readable for ever; see
 * `docs/evolving-events.md` and `test/fixtures/events/`.
 */
const upcasters: Readonly<Record<string, readonly Upcaster[]>> = {
  // Version 2 came with the Idempotency-Key: no job from before was submitted with one.
  JobCreated: [(data) => ({ ...data, requestHash: null })],
};

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

/** An event whose data does not fit its schema: what could not be read again is not written. */
export class UnencodableEventError extends AppError {
  constructor(type: string, why: string) {
    super('UNENCODABLE_EVENT', `A ${type} event cannot be written: ${why}`, { type });
  }
}

export interface EventCodec<Event extends { readonly type: string; readonly data: object }> {
  /** Every type it can read. */
  readonly types: readonly string[];
  /** The version that new events of a type are written with. */
  readonly currentVersion: (type: string) => number;
  /**
   * The stored form of an event. `id` is a UUID, `metadata` lacks only the schema version, which follows from the type.
   * @throws UnencodableEventError
   */
  readonly encode: (event: Event, id: string, metadata: Omit<EventMetadata, 'schemaVersion'>) => NewEvent;
  /**
   * A stored event as the code of today knows it: brought up to the current version, then checked.
   * @throws UndecodableEventError
   */
  readonly decode: (recorded: RecordedEvent) => Event;
}

/** A codec over the newest schema of each type and the upcasters that lead up to it. */
export function createCodec<Event extends { readonly type: string; readonly data: object }>(
  schemaOf: Readonly<Record<string, z.ZodType>>,
  upcastersOf: Readonly<Record<string, readonly Upcaster[]>>,
): EventCodec<Event> {
  // Maps, because a type comes from outside and `constructor` is not one of ours.
  const schemaByType = new Map(Object.entries(schemaOf));
  const stepsByType = new Map(Object.entries(upcastersOf));
  const currentVersion = (type: string): number => (stepsByType.get(type)?.length ?? 0) + 1;
  return {
    types: [...schemaByType.keys()],
    currentVersion,
    encode(event, id, metadata) {
      const parsed = schemaByType.get(event.type)?.safeParse(event.data);
      if (!parsed?.success) {
        throw new UnencodableEventError(event.type, parsed ? describe(parsed.error) : 'its type is unknown');
      }
      const data = parsed.data as Record<string, unknown>;
      return {
        id,
        type: event.type,
        data,
        metadata: { schemaVersion: currentVersion(event.type), ...metadata },
      };
    },
    decode(recorded) {
      const schema = schemaByType.get(recorded.type);
      if (!schema) throw new UndecodableEventError(recorded, 'its type is unknown');
      // Somebody else may have written it: then nothing is sure, not even that there is metadata.
      const version: unknown = (recorded.metadata as Partial<EventMetadata> | undefined)?.schemaVersion;
      const newest = currentVersion(recorded.type);
      if (typeof version !== 'number' || !Number.isInteger(version) || version < 1 || version > newest) {
        throw new UndecodableEventError(
          recorded,
          `its version ${String(version)} is not one of 1 to ${newest}`,
        );
      }
      const steps = stepsByType.get(recorded.type)?.slice(version - 1) ?? [];
      const parsed = schema.safeParse(upcast(recorded, steps));
      if (!parsed.success) throw new UndecodableEventError(recorded, describe(parsed.error));
      return { type: recorded.type, data: parsed.data } as unknown as Event;
    },
  };
}

function upcast(recorded: RecordedEvent, steps: readonly Upcaster[]): Readonly<Record<string, unknown>> {
  try {
    return steps.reduce((older, step) => step(older), recorded.data);
  } catch (error) {
    throw new UndecodableEventError(recorded, `its upcaster failed: ${errorMessage(error)}`);
  }
}

function describe(error: z.ZodError): string {
  const [issue] = error.issues;
  return `${issue?.path.join('.') || 'data'}: ${issue?.message ?? 'does not fit'}`;
}

/** The codec of every event the service writes and reads. */
export const eventCodec = createCodec<DomainEvent>(schemas, upcasters);
export const encodeEvent = eventCodec.encode;
export const decodeEvent = eventCodec.decode;

/** Whether a decoded event belongs to a job's own stream. */
export function isJobEvent(event: DomainEvent): event is JobEvent {
  return Object.hasOwn(jobEventSchemas, event.type);
}

/** Whether a decoded event belongs to a webhook's stream. */
export function isWebhookEvent(event: DomainEvent): event is WebhookEvent {
  return Object.hasOwn(webhookEventSchemas, event.type);
}
