import { setTimeout as delay } from 'node:timers/promises';
import { v7 as uuidv7 } from 'uuid';
import { decodeEvent, encodeEvent, isJobEvent, UndecodableEventError } from '../events/codec.ts';
import { readStream, WrongExpectedRevisionError } from '../events/event-store.ts';
import type { Actor, EventStore, RecordedEvent } from '../events/event-store.ts';
import { evolveJob, jobStream } from '../events/job.ts';
import type { Job, JobEvent } from '../events/job.ts';
import { decideJob } from './job-decider.ts';
import type { JobCommand } from './job-decider.ts';

/** Who asks, and which request or event it follows from. */
export interface CommandContext {
  readonly actor: Actor;
  readonly correlationId: string;
  readonly causationId: string;
}

export interface CommandOutcome {
  /** The job after the command. */
  readonly job: Job;
  /** What was written; empty when what was asked for was already so. */
  readonly events: readonly JobEvent[];
}

/**
 * Carries out one command on one job: loads the stream, decides, appends at the revision the decision was made on, and
 * decides anew when another writer was faster.
 * @throws the decider's errors, and the event store's
 */
export type HandleJobCommand = (
  jobId: string,
  command: JobCommand,
  context: CommandContext,
  /** The job as the caller has just read it: saves reading it again, and is checked by the append. */
  known?: Job,
) => Promise<CommandOutcome>;

/** Lost races a command survives; more than this many in a row means that something else is wrong. */
const MAX_CONFLICTS = 20;

/** @param clock the time now as milliseconds since the epoch */
export function createJobCommandHandler(store: EventStore, clock: () => number = Date.now): HandleJobCommand {
  return async (jobId, command, context, known) => {
    // A new job's stream is expected not to exist: reading it first would cost a round trip for nothing.
    let job = known ?? (command.type === 'CreateJob' ? null : await loadJob(store, jobId));
    for (let conflicts = 0; ; conflicts++) {
      const now = laterOf(clock(), job?.updatedAt);
      const events = decideJob(job, command, now);
      if (events.length === 0 && job !== null) return { job, events };
      const metadata = { ...context, occurredAt: now };
      const recorded = events.map((event) => encodeEvent(event, uuidv7(), metadata));
      try {
        await store.append(jobStream(jobId), recorded, { expected: job?.revision ?? 'no_stream' });
        return { job: fold(job, events, now), events };
      } catch (error) {
        if (!(error instanceof WrongExpectedRevisionError) || conflicts >= MAX_CONFLICTS) throw error;
        await delay(Math.random() * 5 * conflicts);
        job = await loadJob(store, jobId, job);
      }
    }
  };
}

/**
 * A job folded from its stream.
 * @param known an earlier state of the same job: only what came after it is read
 * @returns null when there is no such job
 * @throws UndecodableEventError
 */
export async function loadJob(
  store: EventStore,
  jobId: string,
  known: Job | null = null,
): Promise<Job | null> {
  let job = known;
  for await (const recorded of readStream(store, jobStream(jobId), known === null ? 0 : known.revision + 1)) {
    job = evolve(job, recorded);
  }
  return job;
}

/** A job with what a follow-up needs to say where it comes from. */
export interface TracedJob {
  readonly job: Job;
  /** Of the request that created the job. */
  readonly correlationId: string;
  readonly lastEventId: string;
}

/** Like {@link loadJob}, from the beginning, with the trace of its first and last event. */
export async function loadTracedJob(store: EventStore, jobId: string): Promise<TracedJob | null> {
  let traced = null as TracedJob | null;
  for await (const recorded of readStream(store, jobStream(jobId))) {
    traced = {
      job: evolve(traced?.job ?? null, recorded),
      correlationId: traced?.correlationId ?? recorded.metadata.correlationId,
      lastEventId: recorded.id,
    };
  }
  return traced;
}

function evolve(job: Job | null, recorded: RecordedEvent): Job {
  const event = decodeEvent(recorded);
  if (!isJobEvent(event))
    throw new UndecodableEventError(recorded, 'it does not belong into the stream of a job');
  return evolveJob(job, { event, occurredAt: recorded.metadata.occurredAt, revision: recorded.revision });
}

function fold(before: Job | null, events: readonly JobEvent[], occurredAt: string): Job {
  let job = before;
  for (const event of events) {
    job = evolveJob(job, { event, occurredAt, revision: (job?.revision ?? -1) + 1 });
  }
  if (job === null) throw new Error('A command on a job that does not exist wrote nothing');
  return job;
}

/** Time never runs backwards within a stream, whatever the clocks of its writers say. */
function laterOf(now: number, before: string | undefined): string {
  const iso = new Date(now).toISOString();
  return before !== undefined && before > iso ? before : iso;
}
