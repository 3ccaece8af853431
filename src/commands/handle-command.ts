import { setTimeout as delay } from 'node:timers/promises';
import { v7 as uuidv7 } from 'uuid';
import { decodeEvent, encodeEvent, isJobEvent } from '../events/codec.ts';
import { readStream, WrongExpectedRevisionError } from '../events/event-store.ts';
import type { Actor, EventStore } from '../events/event-store.ts';
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
) => Promise<CommandOutcome>;

/** Lost races a command survives; more than this many in a row means that something else is wrong. */
const MAX_CONFLICTS = 20;

/** @param clock the time now as milliseconds since the epoch */
export function createJobCommandHandler(store: EventStore, clock: () => number = Date.now): HandleJobCommand {
  return async (jobId, command, context) => {
    // A new job's stream is expected not to exist: reading it first would cost a round trip for nothing.
    let job = command.type === 'CreateJob' ? null : await loadJob(store, jobId);
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
export async function loadJob(store: EventStore, jobId: string, known: Job | null = null): Promise<Job | null> {
  let job = known;
  for await (const recorded of readStream(store, jobStream(jobId), known === null ? 0 : known.revision + 1)) {
    const event = decodeEvent(recorded);
    if (!isJobEvent(event)) continue;
    job = evolveJob(job, { event, occurredAt: recorded.metadata.occurredAt, revision: recorded.revision });
  }
  return job;
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
