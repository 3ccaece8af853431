import path from 'node:path';
import type { Json } from '../events/json.ts';
import type { Logger } from '../logger.ts';
import { createHandlerHttp } from './handler-http.ts';
import { loadHandlerModules, writableByAll } from './handler-module.ts';
import { createHandlerPool } from './handler-pool.ts';
import { resultJson } from './handler-result.ts';
import type { Handler, HandlerInfo, HandlerRegistry } from './handler.ts';
import { defaultHandler } from './handlers/default-handler.ts';
import { generateReport } from './handlers/generate-report.ts';
import { resizeImage } from './handlers/resize-image.ts';
import { sendEmail } from './handlers/send-email.ts';
import { simulateWork } from './handlers/simulate-work.ts';
import { parsePayload } from './payload-schema.ts';

export interface HandlerRegistryOptions {
  /** Folder of the user's handler modules; none when not set. */
  readonly handlersDir?: string | undefined;
  /** Factor on the built-in handlers' durations; 0 takes no time. */
  readonly timeScale: number;
  /** Most attempts that run in threads at once. */
  readonly concurrency: number;
  /** All that the user's handlers see of the environment: it must hold no secret of the service's. */
  readonly env: Readonly<Record<string, string>>;
  /** Heap of one thread, in MiB; left to Node when not set. */
  readonly threadHeapMb?: number | undefined;
  /** Lets the handlers' `ctx.http` go to private networks. Default: false. */
  readonly allowPrivateNetworks?: boolean;
  readonly logger: Logger;
}

const builtIn = [sendEmail, generateReport, resizeImage] as const;

/**
 * Every handler of this process: the built-in ones, and those of `handlersDir`, which take the place of a built-in one
 * of the same type. The modules are imported here once for what they say of themselves, and in their threads to run.
 * @throws StartupError a module, or the folder, is at fault
 */
export async function createHandlerRegistry(options: HandlerRegistryOptions): Promise<HandlerRegistry> {
  const { handlersDir, timeScale, concurrency, env, threadHeapMb, logger } = options;
  const { allowPrivateNetworks = false } = options;
  const work = simulateWork(timeScale);
  const handlers = new Map<string, Handler>();
  for (const create of builtIn) {
    const handler = create(work);
    handlers.set(handler.type, handler);
  }
  const fallback = defaultHandler(work);
  const modules = new Map<string, string>();
  if (handlersDir !== undefined) {
    const folder = path.resolve(handlersDir);
    const open = await writableByAll(folder);
    if (open.length > 0) {
      logger.warn(
        { folder, open },
        'Every user of this machine may change handlers, and so run code in the service: chmod o-w',
      );
    }
    for (const { handler, module, file } of await loadHandlerModules(folder)) {
      const { type } = handler;
      const replaces = handlers.has(type) ? ', in place of the built-in handler' : '';
      logger.info({ type, file }, `Handler loaded${replaces}`);
      handlers.set(type, handler);
      modules.set(type, module);
    }
  }
  const infos = new Map([...handlers].map(([type, handler]) => [type, infoOf(handler)]));
  const pool = createHandlerPool({
    threads: concurrency,
    env,
    heapMb: threadHeapMb,
    allowPrivateNetworks,
    logger,
  });

  return {
    types: [...handlers.keys()],
    find: (type) => infos.get(type) ?? null,
    async run(type, payload, ctx) {
      const module = modules.get(type);
      if (module !== undefined) return pool.run(module, payload, ctx);
      const { run } = handlers.get(type) ?? fallback;
      return JSON.parse(
        resultJson(await run(payload, { ...ctx, http: createHandlerHttp(allowPrivateNetworks, ctx.signal) })),
      ) as Json;
    },
    close: () => pool.close(),
  };
}

function infoOf(handler: Handler): HandlerInfo {
  const { type, payload: schema } = handler;
  return {
    type,
    timeoutMs: handler.timeoutMs ?? null,
    maxAttempts: handler.maxAttempts ?? null,
    checkPayload(payload) {
      if (schema === undefined) return null;
      const parsed = parsePayload(type, schema, payload);
      return parsed.ok ? null : parsed.errors;
    },
  };
}
