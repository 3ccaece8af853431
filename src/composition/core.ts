import { randomUUID } from 'node:crypto';
import { hintingCancels } from '../commands/cancel-hints.ts';
import { createJobCommandHandler } from '../commands/handle-command.ts';
import type { HandleJobCommand } from '../commands/handle-command.ts';
import { loggingTransitions } from '../commands/transition-log.ts';
import type { Config } from '../config.ts';
import type { EventStore } from '../events/event-store.ts';
import type { Logger } from '../logger.ts';
import { startCacheFollower } from '../queries/cache-follower.ts';
import { createCachedJobs } from '../queries/cached-jobs.ts';
import type { CachedJobs } from '../queries/cached-jobs.ts';
import { createJobQueries } from '../queries/jobs.ts';
import type { Releasers } from '../releasers.ts';
import type { HandlerRegistry } from '../workers/handler.ts';
import { createHandlerRegistry } from '../workers/load-handlers.ts';
import type { Adapters, RequestAdapters } from './adapters.ts';

/** What requests are answered from: it keeps nobody waiting for a part that is away. */
export interface RequestSide extends RequestAdapters {
  readonly handleJob: HandleJobCommand;
  readonly cachedJobs: CachedJobs;
}

/** What the roles of a process are built from. */
export interface Core extends Adapters {
  readonly config: Config;
  readonly logger: Logger;
  readonly releasers: Releasers;
  readonly handleJob: HandleJobCommand;
  /** null in a process without the api. */
  readonly requests: RequestSide | null;
  /** UUID of this process, for leases. */
  readonly holder: string;
}

/** Puts commands and reads together, over the adapters. */
export async function openCore(
  config: Config,
  adapters: Adapters,
  logger: Logger,
  releasers: Releasers,
): Promise<Core> {
  const { store, bus, openCache, openForRequests } = adapters;
  const commandsOn = (on: EventStore): HandleJobCommand =>
    hintingCancels(loggingTransitions(createJobCommandHandler(on), logger), bus);
  const core = { ...adapters, config, logger, releasers, holder: randomUUID() };
  if (!config.ROLES.includes('api')) return { ...core, handleJob: commandsOn(store), requests: null };
  const forRequests = openForRequests();
  const cachedJobs = createCachedJobs({ jobs: createJobQueries(forRequests), cache: openCache(), logger });
  const follower = await startCacheFollower({ store, sink: cachedJobs, logger });
  releasers.push('cache follower', () => follower.stop());
  // Also what this process's worker does: the cache is never behind it.
  const handleOn = (on: EventStore): HandleJobCommand => cachedJobs.remembering(commandsOn(on));
  const requests = { ...forRequests, handleJob: handleOn(forRequests.store), cachedJobs };
  return { ...core, handleJob: handleOn(store), requests };
}

/** The job types of this process. The api asks them what they think of a payload, the worker runs them. */
export async function openHandlers({ config, logger, releasers }: Core): Promise<HandlerRegistry> {
  const handlers = await createHandlerRegistry({
    handlersDir: config.HANDLERS_DIR,
    timeScale: config.HANDLER_TIME_SCALE,
    concurrency: config.WORKER_CONCURRENCY,
    env: config.handlerEnv,
    allowPrivateNetworks: config.WEBHOOK_ALLOW_PRIVATE_NETWORKS,
    logger,
  });
  releasers.push('handlers', () => handlers.close());
  return handlers;
}
