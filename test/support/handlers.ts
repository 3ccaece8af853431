import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { createLogger } from '../../src/logger.ts';
import { createHandlerRegistry } from '../../src/workers/load-handlers.ts';
import type { HandlerRegistryOptions } from '../../src/workers/load-handlers.ts';
import type { AttemptContext, HandlerRegistry } from '../../src/workers/handler.ts';

/** A folder with the given files, by name; gone after the test. */
export async function handlersFolder(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'asyncly-handlers-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await Promise.all(
    Object.entries(files).map(([name, source]) => writeFile(path.join(folder, name), source)),
  );
  return folder;
}

/** A registry with test settings, closed after the test. */
export async function testRegistry(options: Partial<HandlerRegistryOptions> = {}): Promise<HandlerRegistry> {
  const defaults = { timeScale: 0, concurrency: 2, env: {}, logger: createLogger('silent') };
  const registry = await createHandlerRegistry({ ...defaults, ...options });
  onTestFinished(() => registry.close());
  return registry;
}

export interface TestContext extends AttemptContext {
  /** What the handler reported, in order. */
  readonly reports: unknown[];
  abort(reason: Error): void;
  /** Resolves when the handler logs this line. */
  logged(line: string): Promise<void>;
}

export function testContext(): TestContext {
  const reports: unknown[] = [];
  const stop = new AbortController();
  const waiting = new Map<string, () => void>();
  return {
    jobId: 'b0a1c2d3-0000-7000-8000-000000000001',
    attempt: 1,
    signal: stop.signal,
    reports,
    log(message) {
      reports.push(message);
      waiting.get(message)?.();
    },
    progress(percent, note) {
      reports.push({ percent, note });
    },
    abort: (reason) => stop.abort(reason),
    logged(line) {
      if (reports.includes(line)) return Promise.resolve();
      return new Promise((resolve) => waiting.set(line, resolve));
    },
  };
}
