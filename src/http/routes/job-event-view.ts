import { createHash } from 'node:crypto';
import { eventCodec } from '../../events/codec.ts';
import type { DomainEvent } from '../../events/codec.ts';
import type { Actor, RecordedEvent } from '../../events/event-store.ts';

/** How a field of an event that is no business of a job's owner is told of: not at all, or by a name that stands for it. */
const INTERNAL: { readonly [Type in DomainEvent['type']]?: Readonly<Record<string, 'left out' | 'worker'>> } =
  {
    // A worker's id names its machine and process; its heartbeat tells how long it has been running.
    JobStarted: { workerId: 'worker', heartbeat: 'left out' },
  };

const knownTypes: ReadonlySet<string> = new Set(eventCodec.types);

/**
 * An event of a job as its owner sees it: as it was stored, in the shape of its `schemaVersion`, but for what says something of the
 * service's machines. An event of a type that this build does not know comes without its data: it cannot tell what is in it.
 */
export function jobEventView(recorded: RecordedEvent): Record<string, unknown> {
  const { id, type, stream, revision, metadata } = recorded;
  return {
    id,
    type,
    stream,
    revision,
    occurredAt: metadata.occurredAt,
    actor: actorView(metadata.actor),
    correlationId: metadata.correlationId,
    causationId: metadata.causationId,
    schemaVersion: metadata.schemaVersion,
    data: knownTypes.has(type) ? dataView(recorded) : null,
  };
}

function actorView({ kind, id }: Actor): Actor {
  return { kind, id: kind === 'worker' ? workerName(id) : id };
}

function dataView({ type, data }: RecordedEvent): Record<string, unknown> {
  const internal = INTERNAL[type as DomainEvent['type']];
  if (!internal) return data;
  const fields = Object.entries(data).filter(([field]) => internal[field] !== 'left out');
  return Object.fromEntries(
    fields.map(([field, value]) => [field, internal[field] === 'worker' ? workerName(String(value)) : value]),
  );
}

/** The same for the same worker process, and nothing of what its id says; a UUID in the id makes it impossible to guess. */
function workerName(workerId: string): string {
  return `worker-${createHash('sha256').update(workerId).digest('hex').slice(0, 12)}`;
}
