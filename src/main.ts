import { once } from 'node:events';
import { isAborted } from './waiting.ts';
import { startApp } from './app.ts';
import { clearEnvironment, loadConfig } from './config.ts';
import { StartupError } from './errors.ts';
import { createLogger } from './logger.ts';

/** Longest orderly stop; whatever still runs then is left to the recovery of the next start. */
const STOP_DEADLINE_MS = 30_000;

async function main(): Promise<void> {
  const config = loadConfig();
  clearEnvironment();
  const logger = createLogger(config.LOG_LEVEL);
  const stopAsked = new AbortController();
  const exitAtOnce = (why: string) => (): never => {
    logger.fatal(why);
    process.exit(1);
  };
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      logger.info({ signal: name }, 'Stopping');
      process.once(name, exitAtOnce('Stopped at once by a second signal'));
      setTimeout(exitAtOnce('Stopping took too long'), STOP_DEADLINE_MS).unref();
      stopAsked.abort();
    });
  }
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => {
      logger.fatal({ err: error }, 'Unexpected failure; the process ends');
      process.exit(1);
    });
  }
  const app = await startApp(config, logger);
  if (!isAborted(stopAsked.signal)) await once(stopAsked.signal, 'abort');
  await app.stop();
  logger.info('Stopped');
}

try {
  await main();
} catch (error) {
  const text = error instanceof StartupError ? `Asyncly cannot start: ${error.message}` : error;
  process.stderr.write(`${text instanceof Error ? (text.stack ?? text.message) : String(text)}\n`);
  process.exitCode = 1;
}
