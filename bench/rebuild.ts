import { parseArgs } from 'node:util';
import { startEnvironment } from './lib/environment.ts';
import type { Environment } from './lib/environment.ts';
import { fillStore, untilTakenUp } from './lib/histories.ts';
import { rebuildAll, verifyAll } from './lib/rebuilding.ts';
import type { Rebuild } from './lib/rebuilding.ts';
import { describeRun } from './lib/report.ts';
import { startTraffic } from './rebuild/traffic.ts';
import { startAsyncly } from './subjects/asyncly.ts';
import { writeResults } from './lib/results.ts';
import { eventually } from '../test/support/waiting.ts';

// `npm run bench:rebuild`: README.md beside this says what it does and prints.

const AWAIT_MS = 600_000;
/** How long traffic is kept up before a rebuild begins and after it has ended, in seconds. */
const AROUND = 3;

const { values: options } = parseArgs({
  options: {
    jobs: { type: 'string', default: '20000' },
    rounds: { type: 'string', default: '3' },
    rate: { type: 'string', default: '50' },
    quick: { type: 'boolean', default: false },
  },
});
const jobs = options.quick ? 1_000 : Number(options.jobs);
const rounds = options.quick ? 1 : Number(options.rounds);
const rate = Number(options.rate);

const environment = await startEnvironment();
try {
  const report = { ...(await describeRun(environment)), ...(await measure(environment)) };
  await writeResults('rebuild-under-traffic', report);
} finally {
  await environment.stop();
}

async function measure(environment: Environment): Promise<object> {
  const database = await environment.createDatabase();
  const { url } = database;
  const dataDir = await environment.createDirectory();

  let began = performance.now();
  const events = await fillStore(url, jobs);
  say(`History: ${jobs} jobs, ${events} events, written at ${perSecond(events, began)}/s`);

  began = performance.now();
  const processes = ['api,projector,dispatcher,worker'];
  const running = await startAsyncly(environment, { database, withRedis: false, processes });
  try {
    await untilTakenUp(url);
    say(`The service took them up at ${perSecond(events, began)}/s, the dispatcher included`);

    const idle: Rebuild[] = [];
    for (let round = 1; round <= rounds; round++) {
      const rebuilt = await rebuildAll(url, dataDir);
      say(`Rebuild of all, idle: ${describe(rebuilt)}`);
      idle.push(rebuilt);
    }

    const traffic = startTraffic(running.base, rate);
    await eventually(() => traffic.seconds() > AROUND, AWAIT_MS);
    const busy = await rebuildAll(url, dataDir);
    say(`Rebuild of all, ${rate} jobs/s: ${describe(busy)}`);
    const end = traffic.seconds() + AROUND;
    await eventually(() => traffic.seconds() > end, AWAIT_MS);
    const told = await traffic.stop();
    say(
      `Traffic: ${told.submitted} jobs at ${told.submittedPerSecond}/s, ${told.reads} GETs; ${told.failures.length} requests failed`,
    );
    say(`GETs: p50 ${told.p50} ms, p99 ${told.p99} ms, longest ${told.longest} ms`);
    for (const failure of told.failures.slice(0, 10)) say(`  ${failure}`);

    const clean = await verifyAll(url, dataDir);
    say(`Verify: ${clean ? 'clean' : 'rows differ'}`);
    if (told.failures.length > 0 || !clean) process.exitCode = 1;
    return { jobs, events, idle, busy: { rate, ...busy, traffic: told }, clean };
  } finally {
    await running.stop();
  }
}

function describe({ events, eventsPerSecond, seconds }: Rebuild): string {
  return `${events} events filled in at ${eventsPerSecond}/s; ${seconds} s with indexes, comparison and swap`;
}

function perSecond(count: number, since: number): number {
  return Math.round(count / ((performance.now() - since) / 1_000));
}

function say(text: string): void {
  console.log(text);
}
