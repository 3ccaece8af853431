import { randomUUID } from 'node:crypto';
import type { Bus } from '../bus.ts';
import { loadTracedJob } from '../commands/handle-command.ts';
import type { CommandContext, HandleJobCommand, TracedJob } from '../commands/handle-command.ts';
import { JobAlreadyRunningError, JobNotDueError, StaleEntryError } from '../commands/job-decider.ts';
import type { JobCommand } from '../commands/job-decider.ts';
import type { Database } from '../database.ts';
import type { EventStore } from '../events/event-store.ts';
import type { Job } from '../events/job.ts';
import type { Logger } from '../logger.ts';
import type { Service } from '../service.ts';
import { startCancelWatch } from './cancel-watch.ts';
import { Execution, StoppedError } from './execution.ts';
import type { HandlerRegistry } from './handler.ts';
import { startHeartbeat } from './heartbeat.ts';
import type { Heartbeat } from './heartbeat.ts';
import { reportOutcome } from './report-outcome.ts';
import type { WebhookSender } from './webhook-sender.ts';
import type { WorkItem, WorkOutcome, WorkQueue } from './work-queue.ts';

export interface RunnerOptions {
  readonly store: EventStore;
  readonly database: Database;
  readonly queue: WorkQueue;
  readonly commands: HandleJobCommand;
  readonly handlers: HandlerRegistry;
  readonly webhooks: WebhookSender;
  /** Brings word of cancel requests sooner than the next look for them. */
  readonly bus?: Pick<Bus, 'subscribe'>;
  readonly logger: Logger;
  /** Unique to this process. */
  readonly workerId: string;
  readonly concurrency: number;
  readonly maxAttempts: number;
  readonly backoffMs: number;
  /** How long running handlers may go on after {@link Service.stop} before their jobs are handed back. */
  readonly shutdownGraceMs: number;
  /** Milliseconds between two heartbeats, the same for all workers; see `heartbeat.ts`. */
  readonly beatMs?: number;
  /** Milliseconds between two looks for cancelled jobs; see `cancel-watch.ts`. */
  readonly lookForCancelsMs?: number;
  /** Until another look at a job that runs elsewhere, or whose handler only other workers have. Default: 2,000 and 1,000 ms. */
  readonly lookAgainMs?: { readonly running: number; readonly handler: number };
}

const done: WorkOutcome = { done: true };
const again = (againInMs: number): WorkOutcome => ({ done: false, againInMs });

const LOOK_AGAIN_MS = { running: 2_000, handler: 1_000 };
/** Until another look at the queue by a worker that has lost its heartbeat. */
const HEARTBEAT_LOST_MS = 1_000;

/** Takes entries from the queue, runs their handlers and reports by commands. Decides nothing itself. */
export async function startRunner(options: RunnerOptions): Promise<Service> {
  const { queue, database, logger, workerId, handlers, concurrency, beatMs } = options;
  const executions = new Set<Execution>();
  function stopAll(reason: StoppedError): void {
    for (const execution of executions) execution.stop(reason);
  }
  const heartbeat = await startHeartbeat({
    database,
    workerId,
    handlerTypes: handlers.types,
    logger,
    ...(beatMs === undefined ? {} : { beatMs }),
    onLost() {
      logger.error({ workerId, executions: executions.size }, 'Heartbeat lost; stopping handlers');
      stopAll(new StoppedError(HEARTBEAT_LOST));
    },
  });
  const cancels = startCancelWatch({
    store: options.store,
    database,
    executions,
    bus: options.bus,
    logger,
    lookEveryMs: options.lookForCancelsMs,
  });
  const runner = new Runner(options, heartbeat, executions);
  const consumer = queue.consume(concurrency, (item) => runner.process(item));
  logger.info({ workerId, concurrency, types: handlers.types }, 'Worker started');

  let stopped: Promise<void> | undefined;
  async function stop(): Promise<void> {
    runner.stopping = 'soon';
    const grace = setTimeout(() => {
      runner.stopping = 'now';
      options.webhooks.interrupt();
      stopAll(new StoppedError(SHUTTING_DOWN));
    }, options.shutdownGraceMs);
    try {
      await consumer.stop();
    } finally {
      clearTimeout(grace);
      await cancels.stop();
      await heartbeat.stop();
    }
  }
  return { stop: () => (stopped ??= stop()) };
}

const HEARTBEAT_LOST = 'the worker lost its heartbeat';
const SHUTTING_DOWN = 'the worker is shutting down';

class Runner {
  /** `soon` takes no more entries, `now` lets no handler run on. */
  stopping: 'no' | 'soon' | 'now' = 'no';
  readonly #options: RunnerOptions;
  readonly #heartbeat: Heartbeat;
  readonly #executions: Set<Execution>;

  constructor(options: RunnerOptions, heartbeat: Heartbeat, executions: Set<Execution>) {
    this.#options = options;
    this.#heartbeat = heartbeat;
    this.#executions = executions;
  }

  async process(item: WorkItem): Promise<WorkOutcome> {
    if (this.stopping !== 'no') return again(0);
    // Others would take over at once what is started without a heartbeat.
    if (!this.#heartbeat.alive) return again(HEARTBEAT_LOST_MS);
    if (item.kind === 'webhook') return this.#options.webhooks.deliver(item);
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
      default:
        return item.kind satisfies never;
    }
  }

  async #runJob(item: WorkItem, traced: TracedJob): Promise<WorkOutcome> {
    const { handlers, logger } = this.#options;
    const { type } = traced.job;
    const info = handlers.find(type);
    if (info === null && (await this.#heartbeat.isAnnounced(type))) return again(this.#lookAgainMs.handler);
    const executionId = randomUUID();
    // Before the start is written: whoever reads it there must find it in every later heartbeat.
    this.#heartbeat.add(executionId);
    try {
      const started = await this.#start(item, traced, executionId, info?.maxAttempts ?? null);
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
    ofHandler: number | null,
  ): Promise<Job | WorkOutcome> {
    const { job } = traced;
    const { workerId, backoffMs, logger } = this.#options;
    let supersedes: string | null = null;
    if (job.execution !== null && job.round === item.round && job.attempt === item.attempt) {
      if ((await this.#heartbeat.liveness(job.execution)) === 'running')
        return again(this.#lookAgainMs.running);
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
      defaultMaxAttempts: ofHandler ?? this.#options.maxAttempts,
      ...(ofHandler !== null && { mostAttempts: ofHandler }),
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
      if (error instanceof JobAlreadyRunningError) return again(this.#lookAgainMs.running);
      throw error;
    }
  }

  async #execute(job: Job, traced: TracedJob, executionId: string, logger: Logger): Promise<WorkOutcome> {
    const { handlers, store, workerId, backoffMs } = this.#options;
    const context = this.#context(traced);
    const execution = new Execution({ job, executionId, handlers, store, context, workerId, logger });
    this.#executions.add(execution);
    // Whoever told the others to stop did not know of this one, which was being started.
    if (this.stopping === 'now') execution.stop(new StoppedError(SHUTTING_DOWN));
    if (!this.#heartbeat.alive) execution.stop(new StoppedError(HEARTBEAT_LOST));
    try {
      const outcome = await execution.run();
      const send = (command: JobCommand, known?: Job) => this.#send(job.id, command, context, known);
      const current = await reportOutcome(outcome, { executionId, job, backoffMs, send, logger });
      return current && outcome.kind === 'stopped' ? again(0) : done;
    } finally {
      this.#executions.delete(execution);
    }
  }

  async #send(jobId: string, command: JobCommand, context: CommandContext, known?: Job): Promise<Job> {
    const { job } = await this.#options.commands(jobId, command, context, known);
    return job;
  }

  #context({ correlationId, lastEventId }: TracedJob): CommandContext {
    return { actor: { kind: 'worker', id: this.#options.workerId }, correlationId, causationId: lastEventId };
  }

  get #lookAgainMs(): { readonly running: number; readonly handler: number } {
    return this.#options.lookAgainMs ?? LOOK_AGAIN_MS;
  }
}
