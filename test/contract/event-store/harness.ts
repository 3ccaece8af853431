import { randomUUID } from 'node:crypto';
import type {
  EventStore,
  NewEvent,
  Position,
  PositionedEvent,
  SubscribeOptions,
  SubscriptionMessage,
} from '../../../src/events/event-store.ts';

/** A store under test. Other streams and events may be in it. */
export interface StoreUnderTest {
  readonly store: EventStore;
  /** Another client of the same store, as another process would have it; it owns these streams, default all. */
  readonly connect: (owns?: (stream: string) => boolean) => EventStore;
  /** What the adapter's server does wrong on demand; a case whose fault is missing is skipped. */
  readonly faults: Faults;
  /** Events the adapter has fetched for subscriptions so far, those not yet handed out included. */
  readonly fetched?: () => number;
  dispose(): Promise<void>;
}

interface Faults {
  /** Holds another writer's transaction open, in the way of every append, until an append is seen to wait for it. */
  readonly stall?: () => Promise<void>;
  /** Cuts every connection that the adapters have open. */
  readonly disconnect?: () => Promise<void>;
  /** Appends to a new stream as a process would that dies before it has told anyone. */
  readonly appendSilently?: (stream: string, event: NewEvent) => Promise<void>;
}

/** Long enough for a loaded machine; a test that needs it has failed already. */
export const PATIENCE = 30_000;

export function newEvent(data: Record<string, unknown> = {}, type = 'Tested'): NewEvent {
  const id = randomUUID();
  const occurredAt = '2026-01-01T00:00:00.000Z';
  const actor = { kind: 'system', id: 'test' } as const;
  return {
    id,
    type,
    data,
    metadata: { schemaVersion: 1, correlationId: id, causationId: id, actor, occurredAt },
  };
}

export function newEvents(count: number): NewEvent[] {
  return Array.from({ length: count }, (_, n) => newEvent({ n }));
}

/** A category of this test's own, so that what other tests write is not seen. */
export function newCategory(): string {
  return `t${randomUUID().replaceAll('-', '')}-`;
}

export interface CollectOptions extends Partial<Omit<SubscribeOptions, 'signal'>> {
  readonly after: Position;
  /** Ends the collecting when true. */
  readonly until: (seen: readonly PositionedEvent[], message: SubscriptionMessage) => boolean;
  /** Called before each message is looked at. */
  readonly meanwhile?: (message: SubscriptionMessage) => Promise<void> | void;
}

/** Subscribes until `until` is true, leaves the loop, and returns every event seen. @throws when that takes too long */
export async function collect(
  store: EventStore,
  { until, meanwhile, ...options }: CollectOptions,
): Promise<PositionedEvent[]> {
  const seen: PositionedEvent[] = [];
  const timeout = AbortSignal.timeout(PATIENCE);
  for await (const message of store.subscribe({ prefixes: [], ...options, signal: timeout })) {
    await meanwhile?.(message);
    if (message.kind === 'events') seen.push(...message.events);
    if (until(seen, message)) return seen;
  }
  throw new Error(`The subscription ended after ${seen.length} events without what was waited for`);
}

/** Everything up to the first mark. */
export function collectBacklog(
  store: EventStore,
  options: Omit<CollectOptions, 'until'>,
): Promise<PositionedEvent[]> {
  return collect(store, { ...options, until: (_, message) => message.kind === 'caught-up' });
}

export function idsOf(events: readonly { readonly id: string }[]): string[] {
  return events.map(({ id }) => id);
}
