import type { RecordedEvent } from '../events/event-store.ts';
import { canonicalJson } from './canonical-json.ts';
import { occurredAt } from './occurred-at.ts';

/** An event of an export, with its place in the chain. */
export interface ExportedEvent {
  readonly event: RecordedEvent;
  /** Counts from 1 in the order of the store. */
  readonly number: number;
  /** The chain before and after it, hex. */
  readonly before: string;
  readonly after: string;
}

/** Whose events they are, as CloudEvents wants to know it. */
export const SOURCE = 'asyncly';

type Attributes = Readonly<Record<string, unknown>>;

/** The event as a line of an export: canonical JSON of a CloudEvent, without the line's end. */
export function renderEvent({ event, number, before, after }: ExportedEvent): string {
  const { stream, revision, id, type, data, metadata } = event;
  return canonicalJson({
    specversion: '1.0',
    id: id.toLowerCase(),
    source: SOURCE,
    subject: stream,
    type,
    datacontenttype: 'application/json',
    data,
    revision,
    sequence: String(number).padStart(SEQUENCE_DIGITS, '0'),
    chainbefore: before,
    chainafter: after,
    ...(usualMetadata(metadata) ?? { metadata: canonicalJson(metadata) }),
  });
}

/**
 * What a line's object says.
 * @returns null when it is no event of ours. That nothing else is in the line shows when it is rendered again
 */
export function restoreEvent(line: Attributes): ExportedEvent | null {
  const { subject, revision, id, type, data, sequence, chainbefore: before, chainafter: after } = line;
  if (typeof id !== 'string' || typeof subject !== 'string' || typeof type !== 'string') return null;
  if (typeof revision !== 'number' || data === undefined) return null;
  if (typeof sequence !== 'string' || !SEQUENCE.test(sequence)) return null;
  if (!isHexHash(before) || !isHexHash(after)) return null;
  const metadata = restoreMetadata(line);
  if (metadata === undefined) return null;
  // Whatever it is, it is hashed as it is; what it was when it was stored, it is again.
  const event = { stream: subject, revision, id, type, data, metadata } as RecordedEvent;
  return { event, number: Number(sequence), before, after };
}

/** As many as a safe integer needs; padded, so that the order of the texts is that of the numbers. */
const SEQUENCE_DIGITS = 16;
const SEQUENCE = new RegExp(`^\\d{${SEQUENCE_DIGITS}}$`);

function isHexHash(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
}

/** What CloudEvents allows in an attribute. */
const ATTRIBUTE = /^[^\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]+$/u;
const isAttribute = (value: unknown): boolean => typeof value === 'string' && ATTRIBUTE.test(value);

/**
 * Metadata of the form that the service writes, as attributes; null for any other, which has to be kept as a whole to be
 * restored.
 */
function usualMetadata(metadata: unknown): Attributes | null {
  if (occurredAt({ metadata }) === null) return null;
  const {
    schemaVersion,
    correlationId,
    causationId,
    actor,
    occurredAt: time,
    ...more
  } = metadata as Attributes;
  const { kind, id, ...moreOfActor } = (actor ?? {}) as Attributes;
  if (Object.keys(more).length > 0 || Object.keys(moreOfActor).length > 0) return null;
  if (![correlationId, causationId, kind, id].every(isAttribute)) return null;
  if (!Number.isInteger(schemaVersion) || Math.abs(schemaVersion as number) > 0x7fffffff) return null;
  return {
    time,
    schemaversion: schemaVersion,
    correlationid: correlationId,
    causationid: causationId,
    actorkind: kind,
    actorid: id,
  };
}

function restoreMetadata(line: Attributes): unknown {
  const { metadata } = line;
  if (metadata === undefined) {
    return {
      schemaVersion: line['schemaversion'],
      correlationId: line['correlationid'],
      causationId: line['causationid'],
      actor: { kind: line['actorkind'], id: line['actorid'] },
      occurredAt: line['time'],
    };
  }
  try {
    return typeof metadata === 'string' ? JSON.parse(metadata) : undefined;
  } catch {
    return undefined;
  }
}
