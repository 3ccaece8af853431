import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { httpClient } from '../../test/support/http-client.ts';
import type { Answer } from '../../test/support/http-client.ts';

interface TrafficReport {
  readonly submitted: number;
  readonly submittedPerSecond: number;
  readonly reads: number;
  /** What was not answered as it should be. */
  readonly failures: readonly string[];
  /** Of the GETs, in milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly longest: number;
}

interface Traffic {
  /** Since it began. */
  seconds(): number;
  /** Ends it once everything under way has been answered. */
  stop(): Promise<TrafficReport>;
}

/** Submissions that may be under way at once; beyond it the rate is not kept, and the report shows that. */
const MOST_UNDER_WAY = 200;

/**
 * Submits jobs at a steady rate, however long the answers take, and reads for each of them: the job, an older one, its log and a
 * list.
 * @param rate jobs a second
 */
export function startTraffic(base: string, rate: number): Traffic {
  const call = httpClient(`${base}/api`);
  const began = performance.now();
  const stopping = new AbortController();
  const failures: string[] = [];
  const latencies: number[] = [];
  const ids: string[] = [];
  const underWay = new Set<Promise<void>>();
  let token = '';

  async function ask(method: string, path: string, body?: object): Promise<Answer | null> {
    const asked = performance.now();
    try {
      const answer = await call(method, path, { token, ...(body && { body }) });
      if (method === 'GET') latencies.push(performance.now() - asked);
      if (answer.status < 300) return answer;
      failures.push(`${method} ${path}: ${answer.status}`);
    } catch (error) {
      failures.push(`${method} ${path}: ${String(error)}`);
    }
    return null;
  }

  async function read(id: string): Promise<void> {
    const found = await ask('GET', `/jobs/${id}`);
    if (found !== null && (found.body.data as { id?: string }).id !== id)
      failures.push(`GET /jobs/${id}: not the job`);
  }

  async function submitAndRead(): Promise<void> {
    const body = { type: 'send-email', payload: { to: 'a@example.com', subject: 'Order shipped' } };
    const created = await ask('POST', '/jobs', body);
    if (created === null) return;
    const { id } = created.body.data as { id: string };
    ids.push(id);
    await read(id);
    await read(ids[Math.floor(Math.random() * ids.length)] ?? id);
    await ask('GET', `/jobs/${id}/logs`);
    await ask('GET', '/jobs?limit=20');
  }

  async function run(): Promise<void> {
    const registered = await call('POST', '/auth/register', {
      body: { email: `${randomUUID()}@example.com`, password: 'securepassword123' },
    });
    token = (registered.body.data as { apiKey: string }).apiKey;
    const first = performance.now();
    for (let n = 0; !stopping.signal.aborted; n++) {
      const wait = first + (n * 1_000) / rate - performance.now();
      if (wait > 0) await delay(wait);
      while (underWay.size >= MOST_UNDER_WAY) await Promise.race(underWay);
      const one = submitAndRead().finally(() => underWay.delete(one));
      underWay.add(one);
    }
    await Promise.all(underWay);
  }
  const running = run();
  running.catch(() => undefined);

  return {
    seconds: () => (performance.now() - began) / 1_000,
    async stop() {
      const seconds = (performance.now() - began) / 1_000;
      stopping.abort();
      await running;
      latencies.sort((one, other) => one - other);
      const at = (fraction: number): number =>
        Math.round((latencies[Math.floor(fraction * (latencies.length - 1))] ?? 0) * 10) / 10;
      return {
        submitted: ids.length,
        submittedPerSecond: Math.round(ids.length / seconds),
        reads: latencies.length,
        failures,
        p50: at(0.5),
        p99: at(0.99),
        longest: at(1),
      };
    },
  };
}
