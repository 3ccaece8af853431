import { setTimeout as delay } from 'node:timers/promises';
import { v7 as uuidv7 } from 'uuid';
import { decodeEvent, encodeEvent, UndecodableEventError } from '../events/codec.ts';
import type { DomainEvent } from '../events/codec.ts';
import { readStream, WrongExpectedRevisionError } from '../events/event-store.ts';
import type { Actor, EventStore, RecordedEvent } from '../events/event-store.ts';

/** Who asks, and which request or event it follows from. */
export interface CommandContext {
  readonly actor: Actor;
  readonly correlationId: string;
  readonly causationId: string;
}

/** Something whose stream is decided upon as a whole: where it is stored, how it folds, and what commands do to it. */
export interface Aggregate<State extends Versioned, Event extends DomainEvent, Command> {
  readonly stream: (id: string) => string;
  readonly owns: (event: DomainEvent) => event is Event;
  readonly evolve: (
    state: State | null,
    recorded: { readonly event: Event; readonly occurredAt: string; readonly revision: number },
  ) => State;
  readonly decide: (state: State | null, command: Command, now: string) => Event[];
  /** Whether the command begins a stream, which then need not be read: the append expects it not to exist. */
  readonly begins?: (command: Command) => boolean;
}

interface Versioned {
  /** Time and revision of the last event folded in. */
  readonly updatedAt: string;
  readonly revision: number;
}

/**
 * Carries out one command on one stream: loads it, decides, appends at the revision the decision was made on, and decides
 * anew when another writer was faster.
 * @param known the state as the caller has just read it: saves reading it again, and is checked by the append
 * @returns the state after the command, and what was written: nothing when what was asked for was already so
 * @throws the decider's errors, and the event store's
 */
export type HandleCommand<State, Event, Command> = (
  id: string,
  command: Command,
  context: CommandContext,
  known?: State,
) => Promise<{ readonly state: State; readonly events: readonly Event[] }>;

/** Lost races a command survives; more than this many in a row means that something else is wrong. */
const MAX_CONFLICTS = 20;

/** @param clock the time now as milliseconds since the epoch */
export function createCommandHandler<State extends Versioned, Event extends DomainEvent, Command>(
  aggregate: Aggregate<State, Event, Command>,
  store: EventStore,
  clock: () => number = Date.now,
): HandleCommand<State, Event, Command> {
  const { stream, evolve, decide, begins } = aggregate;
  return async (id, command, context, known) => {
    let state = known ?? (begins?.(command) === true ? null : await loadState(aggregate, store, id));
    for (let conflicts = 0; ; conflicts++) {
      const occurredAt = laterOf(clock(), state?.updatedAt);
      const events = decide(state, command, occurredAt);
      if (events.length === 0 && state !== null) return { state, events };
      const recorded = events.map((event) => encodeEvent(event, uuidv7(), { ...context, occurredAt }));
      try {
        await store.append(stream(id), recorded, { expected: state?.revision ?? 'no_stream' });
      } catch (error) {
        if (!(error instanceof WrongExpectedRevisionError) || conflicts >= MAX_CONFLICTS) throw error;
        await delay(Math.random() * 5 * conflicts);
        state = await loadState(aggregate, store, id, state);
        continue;
      }
      for (const event of events)
        state = evolve(state, { event, occurredAt, revision: (state?.revision ?? -1) + 1 });
      if (state === null) throw new Error('A command on a stream that does not exist wrote nothing');
      return { state, events };
    }
  };
}

/** One step of a stream: an event and the state it led to. */
export interface Step<State, Event> {
  readonly recorded: RecordedEvent;
  readonly event: Event;
  readonly state: State;
}

/**
 * Every step of a stream, oldest first.
 * @param known an earlier state of the same stream: only what came after it is read
 * @throws UndecodableEventError
 */
export async function* stepsOf<State extends Versioned, Event extends DomainEvent>(
  { stream, owns, evolve }: Aggregate<State, Event, never>,
  store: EventStore,
  id: string,
  known: State | null = null,
): AsyncGenerator<Step<State, Event>> {
  let state = known;
  for await (const recorded of readStream(store, stream(id), known === null ? 0 : known.revision + 1)) {
    const event = decodeEvent(recorded);
    if (!owns(event)) throw new UndecodableEventError(recorded, `it does not belong into ${recorded.stream}`);
    const { revision, metadata } = recorded;
    state = evolve(state, { event, occurredAt: metadata.occurredAt, revision });
    yield { recorded, event, state };
  }
}

/** The state a stream folds to, null when there is no such stream. See {@link stepsOf}. */
export async function loadState<State extends Versioned, Event extends DomainEvent>(
  aggregate: Aggregate<State, Event, never>,
  store: EventStore,
  id: string,
  known: State | null = null,
): Promise<State | null> {
  let state = known;
  for await (const step of stepsOf(aggregate, store, id, known)) state = step.state;
  return state;
}

/** Time never runs backwards within a stream, whatever the clocks of its writers say. */
function laterOf(now: number, before: string | undefined): string {
  const iso = new Date(now).toISOString();
  return before !== undefined && before > iso ? before : iso;
}
