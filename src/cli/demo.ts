import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { sleep } from '../waiting.ts';
import { errorMessage } from '../errors.ts';
import { DemoClient } from './demo-client.ts';
import type { DemoJob } from './demo-client.ts';
import { isAsyncly, startDemoService, untilReady } from './demo-service.ts';

const DEFAULT_URL = 'http://localhost:3000';
/** For everything; the slowest job takes about 5 s. */
const DEADLINE_MS = 180_000;
const POLL_MS = 150;
/** How long log lines may come in after their job has ended. */
const LOGS_SETTLE_MS = 2_000;

const USAGE = `Usage: npm run demo [-- --url <address>]

Registers a user, submits one job of every type and shows how they go.
  --url   the service's address; default ${DEFAULT_URL}, or a service
          started for the demo when none answers there`;

const JOBS: readonly { readonly type: string; readonly payload: object }[] = [
  { type: 'send-email', payload: { to: 'recipient@example.com', subject: 'Welcome to Asyncly' } },
  { type: 'generate-report', payload: { format: 'pdf', month: 'May 2026' } },
  { type: 'resize-image', payload: { url: 'https://example.com/cat.jpg', width: 640, height: 480 } },
  { type: 'anything-else', payload: { note: 'Types without a handler of their own get the default one' } },
];

interface Finished {
  readonly job: DemoJob;
  readonly milliseconds: number;
  readonly logLines: number;
}

const began = performance.now();
const elapsed = (): string => `${((performance.now() - began) / 1_000).toFixed(1)} s`.padStart(7);
const say = (text: string, type = ''): void => console.log(`${elapsed()}  ${type.padEnd(16)} ${text}`);

/** Shows a job's changes and log lines as they come in, until it has ended. */
async function follow(client: DemoClient, submitted: DemoJob, signal: AbortSignal): Promise<Finished> {
  const start = performance.now();
  let { status } = submitted;
  let ended: number | null = null;
  const lines = new Map<string, string>();
  for (;;) {
    const job = await client.job(submitted.id);
    if (job.status !== status) say(`${status} → ${job.status}`, job.type);
    status = job.status;
    for (const { id, message } of await client.logs(job.id)) {
      if (!lines.has(id)) say(`log: ${message}`, job.type);
      lines.set(id, message);
    }
    if (status !== 'PENDING' && status !== 'PROCESSING') {
      ended ??= performance.now();
      // The lines come from a read model that may trail the job itself by a moment.
      const complete = [...lines.values()].includes('Job completed successfully');
      if (complete || performance.now() - ended > LOGS_SETTLE_MS) {
        return { job, milliseconds: ended - start, logLines: lines.size };
      }
    }
    await sleep(POLL_MS, signal);
    signal.throwIfAborted();
  }
}

async function run(baseUrl: string, signal: AbortSignal): Promise<readonly Finished[]> {
  const client = new DemoClient({
    baseUrl,
    signal,
    onRateLimit: (seconds) => say(`The service asks for patience: going on in ${seconds} s`),
  });
  const email = `demo-${randomBytes(6).toString('hex')}@example.com`;
  const password = randomBytes(12).toString('base64url');
  await client.register(email, password);
  say(`Registered ${email}`);
  await client.login(email, password);
  say('Logged in');
  const jobs: DemoJob[] = [];
  for (const { type, payload } of JOBS) {
    const job = await client.submit(type, payload);
    say(`submitted as ${job.id}`, type);
    jobs.push(job);
  }
  return Promise.all(jobs.map((job) => follow(client, job, signal)));
}

function printTable(finished: readonly Finished[]): void {
  console.log();
  console.table(
    Object.fromEntries(
      finished.map(({ job, milliseconds, logLines }) => [
        job.type,
        {
          status: job.status,
          seconds: Number((milliseconds / 1_000).toFixed(1)),
          'log lines': logLines,
          result: short(JSON.stringify(job.result)),
        },
      ]),
    ),
  );
}

const short = (text: string): string => (text.length > 50 ? `${text.slice(0, 49)}…` : text);

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { url: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  });
  if (values.help) {
    console.log(USAGE);
    return;
  }
  const interrupted = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => interrupted.abort(new Error('Interrupted')));
  }
  const late = AbortSignal.timeout(DEADLINE_MS);
  late.addEventListener('abort', () =>
    interrupted.abort(new Error(`Not done after ${DEADLINE_MS / 1_000} s`)),
  );
  const { signal } = interrupted;

  const url = (values.url ?? DEFAULT_URL).replace(/\/+$/, '');
  const running = await isAsyncly(url);
  if (!running && values.url !== undefined) throw new Error(`No Asyncly service answers at ${url}`);
  say(
    running
      ? `Using the service at ${url}`
      : `No service at ${url}: starting one for the demo, which takes some seconds`,
  );
  const own = running ? null : await startDemoService(signal);
  try {
    const baseUrl = own?.baseUrl ?? url;
    await untilReady(baseUrl, signal);
    if (own !== null) say(`It is ready at ${baseUrl}`);
    const finished = await run(baseUrl, signal);
    printTable(finished);
    const undone = finished.filter(({ job }) => job.status !== 'DONE');
    if (undone.length > 0) {
      throw new Error(
        `Not every job is DONE: ${undone.map(({ job }) => `${job.type} is ${job.status}`).join(', ')}`,
      );
    }
    console.log(`All ${finished.length} jobs are DONE.`);
  } finally {
    await own?.stop();
  }
}

try {
  await main();
} catch (error) {
  console.error(`The demo failed: ${errorMessage(error)}`);
  process.exitCode = 1;
}
