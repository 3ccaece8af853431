import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { text } from 'node:stream/consumers';
import { z } from 'zod';

export interface Load {
  readonly url: string;
  readonly method?: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: object;
  readonly connections: number;
  /** One of the two: how long, or how many requests in all. */
  readonly seconds?: number;
  readonly requests?: number;
}

/** Latencies in milliseconds. */
export interface LoadReport {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly ok: number;
  readonly failed: number;
}

const report = z.object({
  duration: z.number(),
  '2xx': z.number(),
  non2xx: z.number(),
  errors: z.number(),
  latency: z.object({ p50: z.number(), p99: z.number() }),
});

/** Closed-loop load from autocannon in a process of its own. @throws when autocannon fails */
export async function load(given: Load): Promise<LoadReport> {
  const { url, method = 'GET', headers = {}, body, connections, seconds, requests } = given;
  const args = [
    createRequire(import.meta.url).resolve('autocannon'),
    '--json',
    ...['--connections', String(connections), '--method', method],
    ...(seconds === undefined ? [] : ['--duration', String(seconds)]),
    ...(requests === undefined ? [] : ['--amount', String(requests)]),
    ...Object.entries(headers).flatMap(([name, value]) => ['--headers', `${name}=${value}`]),
    ...(body === undefined
      ? []
      : ['--headers', 'Content-Type=application/json', '--body', JSON.stringify(body)]),
    url,
  ];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  const parsed = report.safeParse(JSON.parse(out || 'null'));
  if (!parsed.success) throw new Error(`autocannon failed: ${err}`);
  const { duration, latency, non2xx, errors, ...counts } = parsed.data;
  return {
    perSecond: counts['2xx'] / duration,
    p50: latency.p50,
    p99: latency.p99,
    ok: counts['2xx'],
    failed: non2xx + errors,
  };
}
