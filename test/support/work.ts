import { randomUUID } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { createJobCommandHandler } from '../../src/commands/handle-command.ts';
import type { HandleJobCommand } from '../../src/commands/handle-command.ts';
import type { JobCommand } from '../../src/commands/job-decider.ts';
import type { Database } from '../../src/database.ts';
import type { DomainEvent } from '../../src/events/codec.ts';
import { decodeEvent } from '../../src/events/codec.ts';
import { jobStream } from '../../src/events/job.ts';
import type { Json } from '../../src/events/job.ts';
import { createBullmqQueue } from '../../src/infrastructure/bullmq/bullmq-queue.ts';
import { createPostgresQueueBackend } from '../../src/infrastructure/bullmq/postgres-backend.ts';
import { startDispatcher } from '../../src/workers/dispatcher.ts';
import type { DispatcherOptions } from '../../src/workers/dispatcher.ts';
import type { AttemptContext, HandlerInfo, HandlerRegistry } from '../../src/workers/handler.ts';
import { startRunner } from '../../src/workers/runner.ts';
import type { RunnerOptions } from '../../src/workers/runner.ts';
import type { WebhookSender } from '../../src/workers/webhook-sender.ts';
import type { WorkQueue } from '../../src/workers/work-queue.ts';
import { silentLogger } from './database.ts';
import { USER } from './job-spec.ts';
import { createTestStore } from './store.ts';

export interface TestHandler extends Partial<HandlerInfo> {
  run(payload: Readonly<Record<string, Json>>, ctx: AttemptContext): Promise<Json>;
}

/** Handlers by type; `default` runs what no other does and is not announced. */
export function createTestRegistry(handlers: Readonly<Record<string, TestHandler>>): HandlerRegistry {
  const types = Object.keys(handlers).filter((type) => type !== 'default');
  return {
    types,
    find(type) {
      const handler = types.includes(type) ? handlers[type] : undefined;
      if (!handler) return null;
      return { type, timeoutMs: null, maxAttempts: null, checkPayload: () => null, ...handler };
    },
    run(type, payload, ctx) {
      const handler = handlers[type] ?? handlers['default'];
      if (!handler) return Promise.reject(new Error(`no handler for ${type}`));
      return handler.run(payload, ctx);
    },
    close: () => Promise.resolve(),
  };
}

const context = {
  actor: { kind: 'user', id: USER },
  correlationId: 'request',
  causationId: 'request',
} as const;

/** Event store, queue and commands of a test, and the processes that work on them. Ended with the test. */
export async function createWorkplace() {
  const test = await createTestStore();
  const { url, database, store } = test;
  const stops: (() => Promise<void>)[] = [() => test.drop()];
  onTestFinished(async () => {
    for (const stop of stops.reverse()) await stop();
  });
  const commands = createJobCommandHandler(store);

  async function openQueue(): Promise<WorkQueue> {
    const backend = await createPostgresQueueBackend(url, database);
    const queue = createBullmqQueue(backend, silentLogger, { lockMs: 3_000, retryMs: 100 });
    stops.push(() => queue.close());
    return queue;
  }
  const queue = await openQueue();

  return {
    database,
    store,
    queue,
    openQueue,
    send: (jobId: string, command: Parameters<HandleJobCommand>[1]) => commands(jobId, command, context),
    submit: async (
      jobType: string,
      given: Partial<Extract<JobCommand, { type: 'CreateJob' }>> = {},
    ): Promise<string> => {
      const jobId = randomUUID();
      await commands(
        jobId,
        {
          type: 'CreateJob',
          jobId,
          userId: USER,
          jobType,
          payload: {},
          webhookUrl: null,
          webhookEvents: [],
          maxAttempts: null,
          timeoutMs: null,
          runAt: null,
          requestHash: null,
          ...given,
        },
        context,
      );
      return jobId;
    },
    /** The events of the job's own stream. */
    eventsOf: async (jobId: string): Promise<DomainEvent[]> => {
      return (await store.read(jobStream(jobId))).map(decodeEvent);
    },
    typesOf: async (jobId: string): Promise<string[]> => {
      return (await store.read(jobStream(jobId))).map(({ type }) => type);
    },
    dispatch: (overrides: Partial<DispatcherOptions> = {}) => {
      const dispatcher = startDispatcher({
        store,
        database,
        queue,
        commands,
        logger: silentLogger,
        holder: randomUUID(),
        ...overrides,
      });
      stops.push(() => dispatcher.stop());
      return dispatcher;
    },
    work: async (handlers: Readonly<Record<string, TestHandler>>, options: Partial<RunnerOptions> = {}) => {
      const runner = await startRunner({
        store,
        database,
        queue,
        commands,
        handlers: createTestRegistry(handlers),
        webhooks: noWebhooks,
        logger: silentLogger,
        workerId: `worker-${randomUUID()}`,
        concurrency: 4,
        maxAttempts: 3,
        backoffMs: 20,
        shutdownGraceMs: 0,
        ...options,
      });
      stops.push(() => runner.stop());
      return runner;
    },
  };
}

/** For tests that are not about webhooks. */
const noWebhooks: WebhookSender = {
  deliver: () => Promise.reject(new Error('No webhook is expected')),
  interrupt: () => undefined,
};

/** A database that shows each statement to `look` before it runs; what that throws, the statement throws. */
export function watched(database: Database, look: (sql: string) => void): Database {
  return {
    ...database,
    async query(sql, values) {
      look(sql);
      return database.query(sql, values);
    },
  };
}
