import { pino, stdSerializers } from 'pino';
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
 * What is logged of an error. Other fields stay away, for libraries put values there that no log line may hold: Postgres's `detail`
 * quotes the row that did not fit, hashes and keys in it; a Redis error has its command, a URL error its URL.
 */
const ERROR_FIELDS = [
  ...['type', 'message', 'stack', 'code', 'data', 'errno', 'syscall', 'address', 'port'],
  ...['severity', 'schema', 'table', 'column', 'dataType', 'constraint', 'routine'],
] as const;

function describeError(error: unknown): unknown {
  if (typeof error !== 'object' || error === null) return error;
  const all = stdSerializers.err(error as Error) as unknown as Readonly<Record<string, unknown>>;
  const described = ERROR_FIELDS.map((field) => [field, all[field]] as const);
  const causes = error instanceof AggregateError ? error.errors.map(describeError) : undefined;
  return Object.fromEntries([...described, ['aggregateErrors', causes]]);
}

/**
 * The service's logger: JSON lines, or coloured text when the stream is a terminal.
 * @param level least level to print, e.g. `info`; `silent` prints nothing
 * @param stream where it goes; tools keep stdout for their results
 */
export function createLogger(level: string, stream: 'stdout' | 'stderr' = 'stdout'): Logger {
  const options = {
    level,
    base: null,
    redact: { paths: redact, censor: '[redacted]' },
    serializers: { err: describeError },
  };
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
