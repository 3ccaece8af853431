import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { loadTracedJob } from '../commands/handle-command.ts';
import type { CommandContext, HandleJobCommand, TracedJob } from '../commands/handle-command.ts';
import {
  JobAlreadyRunningError,
  JobNotDueError,
  StaleEntryError,
  StaleExecutionError,
} from '../commands/job-decider.ts';
import type { JobCommand } from '../commands/job-decider.ts';
import { AppError, errorMessage, UnavailableError } from '../errors.ts';
import type { EventStore } from '../events/event-store.ts';
import type { Job } from '../events/job.ts';
import type { Logger } from '../logger.ts';
import type { Service } from '../service.ts';
import { Execution, StoppedError } from './execution.ts';
import type { HandlerRegistry } from './handler.ts';
import { startHeartbeat } from './heartbeat.ts';
import type { Heartbeat } from './heartbeat.ts';
import type { Database } from '../database.ts';
import type { WorkItem, WorkOutcome, WorkQueue } from './work-queue.ts';

export interface RunnerOptions {
  readonly store: EventStore;
  readonly database: Database;
  readonly queue: WorkQueue;
  readonly commands: HandleJobCommand;
  readonly handlers: HandlerRegistry;
  readonly logger: Logger;
  /** Unique to this process. */
  readonly workerId: string;
  readonly concurrency: number;
  readonly maxAttempts: number;
  readonly backoffMs: number;
  /** How long running handlers may go on after {@link Service.stop} before their jobs are handed back. */
  readonly shutdownGraceMs: number;
}

const done: WorkOutcome = { done: true };
const again = (againInMs: number): WorkOutcome => ({ done: false, againInMs });

/** Waits before another look at a job that runs elsewhere, and at one whose handler only other workers have. */
const RUNNING_ELSEWHERE_MS = 2_000;
const HANDLER_ELSEWHERE_MS = 1_000;
/** How long the outcome of a handler is offered to an event store that does not answer. */
const REPORT_FOR_MS = 60_000;

/** Takes entries from the queue, runs their handlers and reports by commands. Decides nothing itself. */
export async function startRunner(options: RunnerOptions): Promise<Service> {
  const { queue, logger, workerId, handlers } = options;
  const executions = new Set<Execution>();
  const heartbeat = await startHeartbeat({
    database: options.database,
    workerId,
    handlerTypes: handlers.types,
    logger,
    onLost: () => {
      if (executions.size > 0)
        logger.error({ workerId, executions: executions.size }, 'Heartbeat lost; stopping handlers');
      for (const execution of executions) execution.stop(new StoppedError('the worker lost its heartbeat'));
    },
  });
  const runner = new Runner(options, heartbeat, executions);
  const consumer = queue.consume(options.concurrency, (item) => runner.process(item));
  logger.info({ workerId, concurrency: options.concurrency, types: handlers.types }, 'Worker started');

  let stopped: Promise<void> | undefined;
  async function stop(): Promise<void> {
    runner.stopping = true;
    const drained = consumer.stop();
    const grace = setTimeout(() => {
      for (const execution of executions) execution.stop(new StoppedError('the worker is shutting down'));
    }, options.shutdownGraceMs);
    await drained.finally(() => clearTimeout(grace));
    await heartbeat.stop();
  }
  return { stop: () => (stopped ??= stop()) };
}

class Runner {
  stopping = false;
  readonly #options: RunnerOptions;
  readonly #heartbeat: Heartbeat;
  readonly #executions: Set<Execution>;

  constructor(options: RunnerOptions, heartbeat: Heartbeat, executions: Set<Execution>) {
    this.#options = options;
    this.#heartbeat = heartbeat;
    this.#executions = executions;
  }

  async process(item: WorkItem): Promise<WorkOutcome> {
    if (this.stopping) return again(0);
    const traced = await loadTracedJob(this.#options.store, item.jobId);
    if (traced === null) {
      this.#options.logger.warn(item, 'Dropped a queue entry of a job that does not exist');
      return done;
    }
    switch (item.kind) {
      case 'job':
        return this.#runJob(item, traced);
      case 'cancel-finisher':
        await this.#send(item.jobId, { type: 'FinishCancel', round: item.round }, this.#context(traced));
        return done;
      case 'webhook':
        return done;
      default:
        return item.kind satisfies never;
    }
  }

  async #runJob(item: WorkItem, traced: TracedJob): Promise<WorkOutcome> {
    const { handlers, logger } = this.#options;
    const { type } = traced.job;
    const info = handlers.find(type);
    if (info === null && (await this.#heartbeat.isAnnounced(type))) return again(HANDLER_ELSEWHERE_MS);
    const executionId = randomUUID();
    // Before the start is written: whoever reads it there must find it in every later heartbeat.
    this.#heartbeat.add(executionId);
    try {
      const started = await this.#start(
        item,
        traced,
        executionId,
        info?.maxAttempts ?? this.#options.maxAttempts,
      );
      if ('done' in started) return started;
      const log = logger.child({ jobId: item.jobId, executionId, correlationId: traced.correlationId });
      return await this.#execute(started, traced, executionId, log);
    } finally {
      this.#heartbeat.remove(executionId);
    }
  }

  /** @returns the job as started, or what becomes of the entry when it was not */
  async #start(
    item: WorkItem,
    traced: TracedJob,
    executionId: string,
    defaultMaxAttempts: number,
  ): Promise<Job | WorkOutcome> {
    const { job } = traced;
    const { workerId, backoffMs, logger } = this.#options;
    let supersedes: string | null = null;
    if (job.execution !== null && job.round === item.round && job.attempt === item.attempt) {
      if ((await this.#heartbeat.liveness(job.execution)) === 'running') return again(RUNNING_ELSEWHERE_MS);
      supersedes = job.execution.id;
    }
    const { round, attempt } = item;
    const heartbeat = this.#heartbeat.number;
    const command: JobCommand = {
      type: 'StartJob',
      round,
      attempt,
      executionId,
      workerId,
      heartbeat,
      supersedes,
      defaultMaxAttempts,
      backoffMs,
    };
    try {
      const after = await this.#send(item.jobId, command, this.#context(traced), job);
      return after.execution?.id === executionId ? after : done;
    } catch (error) {
      if (error instanceof StaleEntryError) {
        logger.debug({ ...item, ...error.data }, 'Dropped a queue entry that is not what the job waits for');
        return done;
      }
      if (error instanceof JobNotDueError) return again(Math.max(0, Date.parse(error.dueAt) - Date.now()));
      if (error instanceof JobAlreadyRunningError) return again(RUNNING_ELSEWHERE_MS);
      throw error;
    }
  }

  async #execute(job: Job, traced: TracedJob, executionId: string, logger: Logger): Promise<WorkOutcome> {
    const { handlers, store, workerId, backoffMs } = this.#options;
    const context = this.#context(traced);
    const execution = new Execution({ job, executionId, handlers, store, context, workerId, logger });
    this.#executions.add(execution);
    try {
      const outcome = await execution.run();
      if (outcome.kind === 'stopped') {
        const released = await this.#report(
          job,
          { type: 'ReleaseJob', executionId, reason: outcome.reason },
          context,
          logger,
        );
        return released ? again(0) : done;
      }
      const command: JobCommand =
        outcome.kind === 'completed'
          ? { type: 'CompleteJob', executionId, result: outcome.result }
          : {
              type: 'FailAttempt',
              executionId,
              error: outcome.error,
              retryable: outcome.retryable,
              backoffMs,
            };
      await this.#report(job, command, context, logger);
      return done;
    } finally {
      this.#executions.delete(execution);
    }
  }

  /**
   * Tells the job how its execution ended, again and again while the event store is away. An outcome the job refuses
   * for what it is (a result too large) fails the attempt instead.
   * @returns false when the execution is no longer the job's current one
   */
  async #report(job: Job, command: JobCommand, context: CommandContext, logger: Logger): Promise<boolean> {
    const deadline = performance.now() + REPORT_FOR_MS;
    let known: Job | undefined = job;
    for (let wait = 50; ; wait = Math.min(wait * 2, 2_000)) {
      try {
        await this.#send(job.id, command, context, known);
        return true;
      } catch (error) {
        if (error instanceof StaleExecutionError) {
          logger.warn(
            { command: command.type },
            'The job goes on without this execution; its outcome is dropped',
          );
          return false;
        }
        if (!(error instanceof UnavailableError)) {
          if (command.type !== 'CompleteJob' || !(error instanceof AppError)) throw error;
          const failure = {
            error: errorMessage(error),
            retryable: false,
            backoffMs: this.#options.backoffMs,
          };
          return this.#report(
            job,
            { type: 'FailAttempt', executionId: command.executionId, ...failure },
            context,
            logger,
          );
        }
        if (performance.now() > deadline) throw error;
        known = undefined;
        logger.warn({ reason: errorMessage(error) }, 'Outcome not stored yet; trying again');
        await delay(wait * (0.5 + Math.random() / 2));
      }
    }
  }

  async #send(jobId: string, command: JobCommand, context: CommandContext, known?: Job): Promise<Job> {
    const { job, events } = await this.#options.commands(jobId, command, context, known);
    const { correlationId } = context;
    for (const event of events) {
      const { round, attempt, status } = job;
      this.#options.logger.info(
        { jobId, correlationId, event: event.type, round, attempt, status },
        'Job event',
      );
    }
    return job;
  }

  #context({ correlationId, lastEventId }: TracedJob): CommandContext {
    return { actor: { kind: 'worker', id: this.#options.workerId }, correlationId, causationId: lastEventId };
  }
}
