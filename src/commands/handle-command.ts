import { isJobEvent } from '../events/codec.ts';
import type { EventStore } from '../events/event-store.ts';
import { evolveJob, jobStream } from '../events/job.ts';
import type { Job, JobEvent } from '../events/job.ts';
import { createCommandHandler, loadState, stepsOf } from './command-handler.ts';
import type { Aggregate, CommandContext, Step } from './command-handler.ts';
import { decideJob } from './job-decider.ts';
import type { JobCommand } from './job-decider.ts';

export type { CommandContext } from './command-handler.ts';

export interface CommandOutcome {
  /** The job after the command. */
  readonly job: Job;
  /** What was written; empty when what was asked for was already so. */
  readonly events: readonly JobEvent[];
}

/** Carries out one command on one job; see `HandleCommand`. */
export type HandleJobCommand = (
  jobId: string,
  command: JobCommand,
  context: CommandContext,
  known?: Job,
) => Promise<CommandOutcome>;

const jobAggregate: Aggregate<Job, JobEvent, JobCommand> = {
  stream: jobStream,
  owns: isJobEvent,
  evolve: evolveJob,
  decide: decideJob,
  begins: ({ type }) => type === 'CreateJob',
};

/** @param clock the time now as milliseconds since the epoch */
export function createJobCommandHandler(store: EventStore, clock?: () => number): HandleJobCommand {
  const handle = createCommandHandler(jobAggregate, store, clock);
  return async (...command) => {
    const { state: job, events } = await handle(...command);
    return { job, events };
  };
}

/**
 * A job folded from its stream.
 * @param known an earlier state of the same job: only what came after it is read
 * @returns null when there is no such job
 * @throws UndecodableEventError
 */
export function loadJob(store: EventStore, jobId: string, known: Job | null = null): Promise<Job | null> {
  return loadState(jobAggregate, store, jobId, known);
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
  let traced: TracedJob | null = null;
  for await (const { state, recorded } of jobSteps(store, jobId)) {
    const correlationId: string = traced?.correlationId ?? recorded.metadata.correlationId;
    traced = { job: state, correlationId, lastEventId: recorded.id };
  }
  return traced;
}

/** Every event of a job with the state it led to, oldest first. @throws UndecodableEventError */
export function jobSteps(store: EventStore, jobId: string): AsyncGenerator<Step<Job, JobEvent>> {
  return stepsOf(jobAggregate, store, jobId);
}
