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
const redact = ['["x-api-key"]', '*["x-api-key"]', ...secrets.flatMap((key) => [key, `*.${key}`])];

/**
 * The service's logger: JSON lines, or coloured text when the stream is a terminal.
 * @param level least level to print, e.g. `info`; `silent` prints nothing
 * @param stream where it goes; tools keep stdout for their results
 */
export function createLogger(level: string, stream: 'stdout' | 'stderr' = 'stdout'): Logger {
  const options = { level, base: null, redact: { paths: redact, censor: '[redacted]' } };
  const dest = stream === 'stdout' ? 1 : 2;
  if (!process[stream].isTTY) {
    const timestamp = pino.stdTimeFunctions.isoTime;
    return pino({ ...options, timestamp }, pino.destination({ dest, sync: true }));
  }
  return pino({
    ...options,
    transport: {
      target: 'pino-pretty',
      options: { destination: dest, ignore: 'pid,hostname', translateTime: 'HH:MM:ss.l' },
    },
  });
}
