import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openEmbeddedPostgres } from '../src/infrastructure/embedded/embedded-postgres.ts';
import { createDatabase } from '../src/infrastructure/postgres/database.ts';
import { createPostgresEventStore } from '../src/infrastructure/postgres/event-store.ts';
import { migrate } from '../src/infrastructure/postgres/migrate.ts';
import { createLogger } from '../src/logger.ts';
import { projections } from '../src/projections/registry.ts';
import { spawnCli } from '../test/support/cli-process.ts';
import { writeJobs } from '../test/support/many-jobs.ts';
import { spawnService } from '../test/support/service-process.ts';
import { eventually } from '../test/support/waiting.ts';
import { startTraffic } from './rebuild/traffic.ts';

// `npm run bench:rebuild`: README.md beside this says what it does and prints.

interface Rebuild {
  readonly events: number;
  readonly eventsPerSecond: number;
  readonly seconds: number;
}

const RESULTS = fileURLToPath(new URL('results/', import.meta.url));
const CATCH_UP_MS = 600_000;
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

const cwd = await mkdtemp(path.join(tmpdir(), 'asyncly-bench-'));
const logger = createLogger('warn', 'stderr');
const releases: (() => Promise<unknown>)[] = [() => rm(cwd, { recursive: true, force: true })];
try {
  // As durable as it comes.
  const postgres = await openEmbeddedPostgres({ dataDir: path.join(cwd, 'data'), roles: [], logger });
  releases.push(() => postgres.stop());
  const report = await measure(postgres.url);
  await mkdir(RESULTS, { recursive: true });
  await writeFile(path.join(RESULTS, 'rebuild.json'), `${JSON.stringify(report, null, 2)}\n`);
} finally {
  for (const release of releases.reverse()) await release();
}

async function measure(url: string): Promise<object> {
  await migrate(url, { logger });
  const database = createDatabase({ url, max: 4, applicationName: 'bench', logger });
  const store = createPostgresEventStore({ url, database, logger });
  releases.push(
    () => database.close(),
    () => store.close(),
  );
  say(`Machine: ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, Node.js ${process.version}`);

  let began = performance.now();
  const events = await writeJobs(store, jobs);
  say(`History: ${jobs} jobs, ${events} events, written at ${perSecond(events, began)}/s`);

  const service = spawnService(
    {
      DATABASE_URL: url,
      PORT: '0',
      NODE_ENV: 'test',
      HANDLER_TIME_SCALE: '0.01',
      RATE_LIMIT_JOBS_PER_MINUTE: '1000000',
    },
    cwd,
  );
  releases.push(() => service.end('SIGTERM'));
  const base = await service.up();
  if (base === undefined) throw new Error('The service has no api');
  began = performance.now();
  const head = await store.head();
  const consumers = [...projections.map(({ name }) => name), 'dispatcher'];
  await eventually(async () => {
    const { rowCount } = await database.query(
      'SELECT FROM checkpoints WHERE name = ANY ($1) AND position >= $2',
      [consumers, head],
    );
    return rowCount === consumers.length;
  }, CATCH_UP_MS);
  say(`The service took them up at ${perSecond(events, began)}/s, the dispatcher included`);

  const idle: Rebuild[] = [];
  for (let round = 1; round <= rounds; round++) {
    const rebuilt = await rebuildAll(url);
    say(`Rebuild of all, idle: ${describe(rebuilt)}`);
    idle.push(rebuilt);
  }

  const traffic = startTraffic(base, rate);
  await eventually(() => traffic.seconds() > AROUND, CATCH_UP_MS);
  const busy = await rebuildAll(url);
  say(`Rebuild of all, ${rate} jobs/s: ${describe(busy)}`);
  const end = traffic.seconds() + AROUND;
  await eventually(() => traffic.seconds() > end, CATCH_UP_MS);
  const told = await traffic.stop();
  say(
    `Traffic: ${told.submitted} jobs at ${told.submittedPerSecond}/s, ${told.reads} GETs; ${told.failures.length} requests failed`,
  );
  say(`GETs: p50 ${told.p50} ms, p99 ${told.p99} ms, longest ${told.longest} ms`);
  for (const failure of told.failures.slice(0, 10)) say(`  ${failure}`);

  const { clean } = await asyncly<{ clean: boolean }>(url, 'verify', 'all');
  say(`Verify: ${clean ? 'clean' : 'rows differ'}`);
  if (told.failures.length > 0 || !clean) process.exitCode = 1;
  return { jobs, events, idle, busy: { rate, ...busy, traffic: told }, clean };
}

async function rebuildAll(url: string): Promise<Rebuild> {
  const { events, eventsPerSecond, seconds } = await asyncly<Rebuild>(url, 'rebuild', 'all');
  return { events, eventsPerSecond, seconds };
}

async function asyncly<T>(url: string, ...args: string[]): Promise<T> {
  const command = spawnCli(['projections', ...args, '--json'], { cwd, env: { DATABASE_URL: url } });
  const { code, stdout, stderr } = await command.ended;
  if (stdout === '') throw new Error(`asyncly ended with ${code}: ${stderr}`);
  const report = JSON.parse(stdout) as T & { error?: { message: string } };
  if (report.error) throw new Error(report.error.message);
  return report;
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
