import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { errorMessage, StartupError } from '../errors.ts';
import type { Handler } from './handler.ts';

/** A handler of the user's, and the module it came from. */
export interface HandlerModule {
  readonly handler: Handler;
  /** `file:` URL */
  readonly module: string;
  /** Name inside the folder. */
  readonly file: string;
}

/** Longest a module may take to load at start, its top-level `await`s included. */
const LOAD_TIMEOUT_MS = 10_000;
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
const MAX_ATTEMPTS = 100;
const MAX_TYPE_LENGTH = 100;

/**
 * Loads every `.js` and `.mjs` file of a folder, sub-folders, dot files and `*.test.*` left out, in the order of their names.
 * @throws StartupError naming the folder, or the file and the field at fault
 */
export async function loadHandlerModules(folder: string): Promise<HandlerModule[]> {
  const modules: HandlerModule[] = [];
  for (const file of await handlerFiles(folder)) {
    const module = pathToFileURL(path.join(folder, file)).href;
    const handler = await loadHandler(file, module);
    const twin = modules.find((other) => other.handler.type === handler.type);
    if (twin)
      throw new StartupError(`HANDLERS_DIR: ${twin.file} and ${file} both have the type ${handler.type}`);
    modules.push({ handler, module, file });
  }
  return modules;
}

/** The default export of an imported module; CommonJS that was compiled from ES modules has it one level further down. */
export function handlerOf(imported: unknown): unknown {
  const exported = defaultOf(imported);
  return isObject(exported) && '__esModule' in exported ? defaultOf(exported) : exported;
}

/**
 * The files and the folder that every user of the machine may write: whoever does so runs code in the service. Named relative to the
 * folder, which is `.`
 */
export async function writableByAll(folder: string): Promise<string[]> {
  // Windows gives access by other means, and shows modes that it makes up.
  if (process.platform === 'win32') return [];
  const names = ['.', ...(await handlerFiles(folder))];
  const modes = await Promise.all(names.map(async (name) => (await stat(path.join(folder, name))).mode));
  return names.filter((_, index) => ((modes[index] ?? 0) & 0o002) !== 0);
}

async function handlerFiles(folder: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const why =
      code === 'ENOENT' ? 'does not exist' : code === 'ENOTDIR' ? 'is not a folder' : errorMessage(error);
    throw new StartupError(`HANDLERS_DIR: ${folder} ${why}`, { folder }, { cause: error });
  }
  const modules = names.filter((name) => /\.m?js$/.test(name) && !/^\.|\.test\.m?js$/.test(name));
  const areFiles = await Promise.all(modules.map((name) => isFile(folder, name)));
  return modules.filter((_, index) => areFiles[index]).sort();
}

async function isFile(folder: string, name: string): Promise<boolean> {
  try {
    return (await stat(path.join(folder, name))).isFile();
  } catch (error) {
    const why =
      (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'it is a link to nothing' : errorMessage(error);
    throw new StartupError(
      `HANDLERS_DIR: ${name} cannot be loaded: ${why}`,
      { file: name },
      { cause: error },
    );
  }
}

async function loadHandler(file: string, module: string): Promise<Handler> {
  let imported: unknown;
  try {
    imported = await withTimeout(import(/* @vite-ignore */ module));
  } catch (error) {
    throw new StartupError(
      `HANDLERS_DIR: ${file} cannot be loaded: ${errorMessage(error)}`,
      { file },
      { cause: error },
    );
  }
  const handler = handlerOf(imported);
  const wrong = whatIsWrong(handler);
  if (wrong !== null) throw new StartupError(`HANDLERS_DIR: ${file}: ${wrong}`, { file });
  return handler as Handler;
}

async function withTimeout<T>(loading: Promise<T>): Promise<T> {
  const loaded = new AbortController();
  const late = delay(LOAD_TIMEOUT_MS, undefined, { signal: loaded.signal }).then(
    () => Promise.reject(new Error(`it is not done after ${LOAD_TIMEOUT_MS / 1_000} s`)),
    () => loading,
  );
  try {
    return await Promise.race([loading, late]);
  } finally {
    loaded.abort();
  }
}

/** The first field of a default export that does not fit a {@link Handler}, in words. */
function whatIsWrong(handler: unknown): string | null {
  if (!isObject(handler)) return 'it has no default export `{ type, run }`';
  const { type, run, payload, timeoutMs, maxAttempts } = handler;
  if (typeof type !== 'string' || type.trim() !== type || type === '' || type.length > MAX_TYPE_LENGTH) {
    return `type must be a text of 1 to ${MAX_TYPE_LENGTH} characters without spaces around it`;
  }
  if (typeof run !== 'function') return 'run must be a function';
  if (payload !== undefined && !(isObject(payload) && typeof payload.safeParse === 'function')) {
    return 'payload must be a zod schema or another object with safeParse';
  }
  if (timeoutMs !== undefined && !isWholeNumber(timeoutMs, MAX_TIMEOUT_MS)) {
    return `timeoutMs must be a whole number of milliseconds from 1 to ${MAX_TIMEOUT_MS}`;
  }
  if (maxAttempts !== undefined && !isWholeNumber(maxAttempts, MAX_ATTEMPTS)) {
    return `maxAttempts must be a whole number from 1 to ${MAX_ATTEMPTS}`;
  }
  return null;
}

function isWholeNumber(value: unknown, most: number): boolean {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= most;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function defaultOf(imported: unknown): unknown {
  return isObject(imported) ? imported.default : undefined;
}
