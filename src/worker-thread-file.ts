import { fileURLToPath } from 'node:url';

/** What `new Worker` or piscina needs to start a thread. */
export interface WorkerThreadFile {
  readonly filename: string;
  readonly execArgv: string[];
}

/**
 * The entry file of a worker thread that lies beside the calling module, as built JavaScript or as TypeScript source.
 * @param name the file's name without extension, e.g. `handler-thread`
 * @param moduleUrl the caller's `import.meta.url`
 */
export function workerThreadFile(name: string, moduleUrl: string): WorkerThreadFile {
  const extension = moduleUrl.endsWith('.ts') ? 'ts' : 'js';
  const filename = fileURLToPath(new URL(`./${name}.${extension}`, moduleUrl));
  return { filename, execArgv: extension === 'ts' ? ['--import', registerTsx()] : [] };
}

/**
 * A preload that lets a thread read TypeScript, which Node 20 does not: threads do not inherit the hooks of tsx or vitest,
 * and `--import tsx` registers itself on the main thread alone. Source runs in development only, where tsx is installed.
 */
function registerTsx(): string {
  const code = `import { register } from ${JSON.stringify(import.meta.resolve('tsx/esm/api'))}; register();`;
  return `data:text/javascript,${encodeURIComponent(code)}`;
}
