import { isJobEvent } from '../events/codec.ts';
import type { EventStore } from '../events/event-store.ts';
import { evolveJob, jobStream } from '../events/job.ts';
import type { Job, JobEvent } from '../events/job.ts';
import { createCommandHandler, loadState, stepsOf } from './command-handler.ts';
import type { Aggregate, CommandContext, Step } from './command-handler.ts';
import { decideJob, IdempotencyKeyReusedError, JobExistsError, JobNotFoundError } from './job-decider.ts';
import type { JobCommand } from './job-decider.ts';

export type { CommandContext } from './command-handler.ts';

export interface CommandOutcome {
  /** The job after the command. */
  readonly job: Job;
  /** What was written; empty when what was asked for was already so. */
  readonly events: readonly JobEvent[];
}

/** Asks for the job that a `CreateJob` with this `requestHash` has made, and makes none. */
export interface ReplayJob {
  readonly type: 'ReplayJob';
  readonly userId: string;
  readonly requestHash: string;
}

/**
 * Carries out one command on one job; see `HandleCommand`. A `CreateJob` with a `requestHash` may be repeated: it is answered with the job
 * as it is by then. So is a `ReplayJob`.
 * @throws IdempotencyKeyReusedError when the job was made by another request
 */
export type HandleJobCommand = (
  jobId: string,
  command: JobCommand | ReplayJob,
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
  const creations = new Map<string, Promise<CommandOutcome>>();

  const carryOut = async (...command: Parameters<typeof handle>): Promise<CommandOutcome> => {
    const { state: job, events } = await handle(...command);
    return { job, events };
  };

  /** The same creation twice at once is one: the second append would only queue up to be refused. */
  async function createOnce(
    command: Repeatable,
    creating: () => Promise<CommandOutcome>,
  ): Promise<CommandOutcome> {
    const request = [command.jobId, command.userId, command.requestHash].join(' ');
    const first = creations.get(request);
    if (first !== undefined) return { job: (await first).job, events: [] };
    const outcome = creating().catch(async (error: unknown) => {
      if (!(error instanceof JobExistsError)) throw error;
      return { job: await jobCreatedBefore(store, command.jobId, command), events: [] };
    });
    creations.set(request, outcome);
    return outcome.finally(() => creations.delete(request));
  }

  return async (jobId, command, ...rest) => {
    if (command.type === 'ReplayJob') {
      return { job: await jobCreatedBefore(store, jobId, command), events: [] };
    }
    const creating = (): Promise<CommandOutcome> => carryOut(jobId, command, ...rest);
    return isRepeatable(command) ? createOnce(command, creating) : creating();
  };
}

/** A creation that may come again: its job's id follows from an Idempotency-Key. */
type Repeatable = Extract<JobCommand, { type: 'CreateJob' }> & { readonly requestHash: string };

function isRepeatable(command: JobCommand): command is Repeatable {
  return command.type === 'CreateJob' && command.requestHash !== null;
}

/**
 * The job that an earlier request with the same key has made. Which one that was stands in the stream's first event alone: no other
 * decision needs it, so it is no part of the state.
 * @throws JobNotFoundError when there was none
 */
async function jobCreatedBefore(
  store: EventStore,
  jobId: string,
  { userId, requestHash }: Pick<ReplayJob, 'userId' | 'requestHash'>,
): Promise<Job> {
  let job: Job | null = null;
  for await (const { event, state } of jobSteps(store, jobId)) {
    const isAnother = event.type === 'JobCreated' && event.data.requestHash !== requestHash;
    if (isAnother || state.userId !== userId) throw new IdempotencyKeyReusedError(jobId);
    job = state;
  }
  if (job === null) throw new JobNotFoundError();
  return job;
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
