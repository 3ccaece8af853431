import { pino } from 'pino';
import type { Logger } from 'pino';

export type { Logger };

/** Fields that never reach a log line, wherever they stand in the logged object's first two levels. */
const secrets = [
  'password',
  'token',
  'accessToken',
  'refreshToken',
  'apiKey',
  'secret',
  'authorization',
  'cookie',
];
const redact = secrets.flatMap((key) => [key, `*.${key}`, `*["x-api-key"]`]);

/**
 * The service's logger: JSON lines on stdout, or coloured text when stdout is a terminal.
 * @param level least level to print, e.g. `info`; `silent` prints nothing
 */
export function createLogger(level: string): Logger {
  const options = { level, base: null, redact: { paths: [...new Set(redact)], censor: '[redacted]' } };
  if (!process.stdout.isTTY) return pino({ ...options, timestamp: pino.stdTimeFunctions.isoTime });
  return pino({
    ...options,
    transport: { target: 'pino-pretty', options: { ignore: 'pid,hostname', translateTime: 'HH:MM:ss.l' } },
  });
}
