import { openAdapters } from './composition/adapters.ts';
import { openApi } from './composition/api.ts';
import { openSealSigner } from './composition/audit.ts';
import { openCore, openHandlers } from './composition/core.ts';
import { openDispatcher, openWorker } from './composition/work.ts';
import type { Config } from './config.ts';
import type { Logger } from './logger.ts';
import { startProjector } from './projections/projector.ts';
import { projections } from './projections/registry.ts';
import { Releasers } from './releasers.ts';

export interface App extends AsyncDisposable {
  /** Where the api listens; null in a process without that role. */
  readonly url: string | null;
  /** Stops every part, last started first. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Starts the roles of this process.
 * @throws StartupError naming the part that cannot start; whatever had started is stopped again
 */
export async function startApp(config: Config, logger: Logger): Promise<App> {
  const releasers = new Releasers(logger);
  let released: Promise<void> | undefined;
  const stop = (): Promise<void> => (released ??= releasers.releaseAll());
  try {
    const url = await startRoles(config, logger, releasers);
    logger.info({ roles: config.ROLES, ...(url !== null && { url }) }, `${config.APP_NAME} is up`);
    return { url, stop, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** @returns where the api listens, null without that role */
async function startRoles(config: Config, logger: Logger, releasers: Releasers): Promise<string | null> {
  const { ROLES: roles } = config;
  const adapters = await openAdapters(config, logger, releasers);
  const core = await openCore(config, adapters, logger, releasers);
  const needsHandlers = roles.includes('worker') || roles.includes('api');
  const handlers = needsHandlers ? await openHandlers(core) : null;
  if (roles.includes('projector')) {
    const projector = startProjector({ ...core, projections });
    releasers.push('projector', () => projector.stop());
    openSealSigner(core);
  }
  if (roles.includes('dispatcher') || roles.includes('worker')) {
    const queue = await core.openQueue();
    if (roles.includes('dispatcher')) openDispatcher(core, queue);
    if (roles.includes('worker') && handlers !== null) await openWorker(core, queue, handlers);
  }
  const { requests } = core;
  return requests !== null && handlers !== null ? openApi(core, requests, handlers) : null;
}
