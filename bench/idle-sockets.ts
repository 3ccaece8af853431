import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { freePort } from '../src/infrastructure/embedded/ports.ts';
import { createAccounts } from '../test/support/accounts.ts';
import { httpClient } from '../test/support/http-client.ts';
import { createGate, eventually } from '../test/support/waiting.ts';
import type { ClientOrder, ClientReport } from './clients/idle-sockets.ts';
import { startEnvironment } from './lib/environment.ts';
import { followAll } from './lib/live.ts';
import { answers, startClient, startProcess } from './lib/processes.ts';
import { describeRun } from './lib/report.ts';
import { writeResults } from './lib/results.ts';

// `npm run bench:idle-sockets`: README.md beside this says what it does and prints.

const CLIENT = 'bench/clients/idle-sockets.js';
/** Promised of the whole process, in MB. */
const MOST_MB = 500;
/** The service lets one user have so many. */
const SOCKETS_PER_USER = 20;
/** A process may have some thousand files open. */
const SOCKETS_PER_CLIENT = 2_500;
/** Milliseconds. */
const CONNECTING = 300_000;
const HEARTBEATS = 2;
const HEARTBEAT = 30_000;
const TOLD_WITHIN = 5_000;
/** Until a process that has nothing more to do is taken to be at rest. */
const AT_REST = 5_000;

const { values: options } = parseArgs({ options: { sockets: { type: 'string', default: '10000' } } });
const sockets = Number(options.sockets);

const releases: (() => Promise<unknown>)[] = [];
try {
  const report = await measure();
  await writeResults('idle-sockets', report);
} finally {
  for (const release of releases.reverse()) await release();
}

async function measure(): Promise<object> {
  const environment = await startEnvironment();
  releases.push(() => environment.stop());
  const run = await describeRun(environment);
  const { url } = await environment.createDatabase();
  const port = String(await freePort());
  const base = `http://127.0.0.1:${port}`;
  const service = await startProcess({
    name: 'every role',
    file: 'src/main.js',
    environment: {
      NODE_ENV: 'test',
      DATABASE_URL: url,
      DATA_DIR: await environment.createDirectory(),
      HOST: '127.0.0.1',
      PORT: port,
      HANDLER_TIME_SCALE: '0',
      RATE_LIMIT_JOBS_PER_MINUTE: '1000000',
      RATE_LIMIT_AUTH_PER_MINUTE: '1000000',
      JWT_ACCESS_EXPIRES_IN: '1h',
    },
    isUp: answers(`${base}/readyz`),
  });
  releases.push(() => service.stop());
  const tokens = await logIn(url, base, Math.ceil(sockets / SOCKETS_PER_USER));
  await delay(AT_REST);
  const before = service.usage();
  say(`The service, with every role, before any socket: ${mb(before.residentMb)} MB`);

  // The last one is the one that has something to hear.
  const perSocket = Array.from({ length: sockets }, (_, n) => tokens[Math.floor(n / SOCKETS_PER_USER)]!);
  const listening = perSocket.pop()!;
  const clients: ReturnType<typeof hold>[] = [];
  for (let first = 0; first < perSocket.length; first += SOCKETS_PER_CLIENT) {
    const order = {
      url: base.replace('http', 'ws'),
      tokens: perSocket.slice(first, first + SOCKETS_PER_CLIENT),
    };
    const client = hold(order);
    releases.push(() => client.stop());
    clients.push(client);
  }
  const reports = (): ClientReport[] => clients.map((client) => client.report());
  const sum = (of: (report: ClientReport) => number): number =>
    reports().reduce((total, one) => total + of(one), 0);
  const began = performance.now();
  await eventually(() => {
    const settled = sum(({ open, dropped }) => open + dropped);
    if (settled === perSocket.length) return true;
    throw new Error(`${settled} of ${perSocket.length} sockets so far`);
  }, CONNECTING);
  const seconds = (performance.now() - began) / 1_000;
  let done = createGate<string>();
  const listener = await followAll(base, listening, ({ type, jobId }) => {
    if (type === 'job:done') done.open(jobId!);
  });
  say(
    `${sum(({ open }) => open) + 1} sockets follow all jobs of their users, after ${Math.round(seconds)} s`,
  );
  await delay(AT_REST);
  const connected = service.usage();
  say(`With them: ${mb(connected.residentMb)} MB`);

  await eventually(
    () => reports().every(({ heartbeats, open }) => open === 0 || heartbeats >= HEARTBEATS),
    (HEARTBEATS + 2) * HEARTBEAT,
  );
  await delay(AT_REST);
  const after = service.usage();
  const busy = (after.cpuSeconds - connected.cpuSeconds) * 1_000;
  say(
    `After ${HEARTBEATS} heartbeats: ${mb(after.residentMb)} MB, at most ${mb(after.peakMb)} MB at any time`,
  );
  const perSocketKb = ((connected.residentMb - before.residentMb) * 1_024) / sockets;
  say(
    `Each socket: ${perSocketKb.toFixed(1)} KB; processor: ${Math.round(busy)} ms for the heartbeats of all`,
  );

  done = createGate();
  const submittedAt = performance.now();
  await httpClient(base)('POST', '/api/jobs', {
    token: listening,
    body: { type: 'send-email', payload: {} },
  });
  // A socket that was dropped hears nothing.
  await Promise.race([done.opened, delay(2 * TOLD_WITHIN, undefined, { ref: false })]);
  const heard = Math.round(performance.now() - submittedAt);
  say(`A job that was submitted then: its end was heard ${heard} ms after its submission`);
  const dropped = sum((report) => report.dropped);
  say(
    `Sockets dropped: ${dropped}${reports()
      .flatMap(({ reasons }) => reasons)
      .map((reason) => `\n  ${reason}`)
      .join('')}`,
  );
  if (dropped > 0 || after.peakMb > MOST_MB || heard > TOLD_WITHIN) process.exitCode = 1;
  await listener.close();
  return {
    ...run,
    sockets,
    beforeMb: before.residentMb,
    connectedMb: connected.residentMb,
    afterMb: after.residentMb,
    peakMb: after.peakMb,
    perSocketKb,
    heardMs: heard,
    dropped,
  };
}

/** @returns access tokens, one a user */
async function logIn(databaseUrl: string, base: string, users: number): Promise<string[]> {
  const accounts = createAccounts(databaseUrl);
  const call = httpClient(base);
  const tokens: string[] = [];
  try {
    for (let n = 0; n < users; n++) {
      const { email, password } = await accounts.newAccount();
      const { body } = await call('POST', '/api/auth/login', { body: { email, password } });
      tokens.push((body.data as { accessToken: string }).accessToken);
    }
  } finally {
    await accounts.close();
  }
  return tokens;
}

function hold(order: ClientOrder): { report(): ClientReport; stop(): Promise<void> } {
  const client = startClient(CLIENT);
  let last: ClientReport = { open: 0, dropped: 0, reasons: [], heartbeats: 0, told: 0 };
  client.onMessage((report) => (last = report as ClientReport));
  client.send(order);
  return { report: () => last, stop: () => client.stop() };
}

function mb(megabytes: number): number {
  return Math.round(megabytes);
}

function say(text: string): void {
  console.log(text);
}
