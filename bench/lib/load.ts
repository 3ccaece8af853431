import { z } from 'zod';
import { askClient } from './processes.ts';

/** How long, or how many requests in all, or one request for each path. */
export type Amount =
  { readonly seconds: number } | { readonly requests: number } | { readonly paths: readonly string[] };

export interface Load {
  readonly url: string;
  readonly method?: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: object;
  readonly connections: number;
  readonly amount: Amount;
}

const loadReport = z.object({
  /** By `performance.timeOrigin + performance.now()`, the clock that all processes share. */
  startedAt: z.number(),
  perSecond: z.number(),
  p50: z.number(),
  p99: z.number(),
  ok: z.number(),
  failed: z.number(),
});
/** Latencies in milliseconds. */
export type LoadReport = z.infer<typeof loadReport>;

/** Closed-loop load from autocannon in a process of its own. @throws when a request fails */
export async function load(given: Load): Promise<LoadReport> {
  const report = loadReport.parse(await askClient('bench/clients/load.js', given));
  if (report.failed > 0) throw new Error(`${report.failed} of ${report.failed + report.ok} requests failed`);
  return report;
}
