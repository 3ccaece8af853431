import { setMaxListeners } from 'node:events';
import { Agent, get, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { freePort } from '../src/infrastructure/embedded/ports.ts';
import { createAccounts } from '../test/support/accounts.ts';
import { startEventStoreDouble } from '../test/support/eventstoredb/server.ts';
import { httpClient } from '../test/support/http-client.ts';
import { eventually } from '../test/support/waiting.ts';
import { startEnvironment } from './lib/environment.ts';
import { answers, startProcess } from './lib/processes.ts';
import { describeRun } from './lib/report.ts';
import { writeResults } from './lib/results.ts';

// `npm run bench:overload`: README.md beside this says what it does and prints.

/** Promised of the whole process, in MB. */
const MOST_MB = 1_200;
/** Submissions at a time: more than the service lets in. */
const SUBMISSIONS = 6_000;
/** Bodies at a time of which the last byte never comes, and the bytes of each: many times what the service holds. */
const UNFINISHED = 2_000;
const LARGE = 500_000;
/** Milliseconds without a byte after which a request hangs. */
const HANGS = 30_000;
/** Milliseconds until the submissions follow the bodies, of which otherwise few would be let in. */
const BODIES_FIRST = 5_000;
/** Milliseconds over which connections are opened: the system takes only so many at once. */
const CONNECTING = 5_000;
const RECOVERED_WITHIN = 60_000;

const { values: options } = parseArgs({ options: { seconds: { type: 'string', default: '20' } } });
const seconds = Number(options.seconds);

const releases: (() => Promise<unknown>)[] = [];
try {
  await writeResults('overload', await measure());
} finally {
  for (const release of releases.reverse()) await release();
}

async function measure(): Promise<object> {
  const environment = await startEnvironment();
  releases.push(() => environment.stop());
  const run = await describeRun(environment);
  const { url } = await environment.createDatabase();
  const store = await startEventStoreDouble();
  releases.push(() => store.stop());
  const port = String(await freePort());
  const base = `http://127.0.0.1:${port}`;
  const service = await startProcess({
    name: 'every role',
    file: 'src/main.js',
    environment: {
      NODE_ENV: 'test',
      DATABASE_URL: url,
      EVENTSTORE_URL: store.url,
      DATA_DIR: await environment.createDirectory(),
      HOST: '127.0.0.1',
      PORT: port,
      HANDLER_TIME_SCALE: '0',
      LOG_LEVEL: 'error',
      RATE_LIMIT_JOBS_PER_MINUTE: '1000000',
    },
    isUp: answers(`${base}/readyz`),
  });
  releases.push(() => service.stop());
  const token = await logIn(url, base);
  const before = service.usage().residentMb;
  console.log(`The service, with every role, before the flood: ${Math.round(before)} MB`);

  const clients = await connectAll(base, SUBMISSIONS + UNFINISHED);
  const connected = service.usage().residentMb;
  console.log(`With ${clients.length} connections: ${Math.round(connected)} MB`);
  const goOn = store.stall();
  const tally = await flood(base, token, clients);
  goOn();
  const peak = service.usage().peakMb;
  console.log(`At most, in ${seconds} s of flood while the event store stalls: ${Math.round(peak)} MB`);
  console.table(tally);

  const began = performance.now();
  const call = httpClient(base, HANGS);
  await eventually(async () => {
    const { status } = await call('POST', '/api/jobs', { token, body: { type: 'send-email', payload: {} } });
    return status === 201;
  }, RECOVERED_WITHIN);
  const recoveredMs = Math.round(performance.now() - began);
  console.log(`A submission was accepted ${recoveredMs} ms after the event store went on`);
  if (peak > MOST_MB || tally.hung > 0 || tally.other > 0 || tally.notAlive > 0) process.exitCode = 1;
  return { ...run, seconds, beforeMb: before, connectedMb: connected, peakMb: peak, recoveredMs, ...tally };
}

/** What became of the flood's requests. */
interface Tally {
  /** Answered with 503 and `Retry-After`. */
  turnedAway: number;
  /** The same, of bodies that did not end. */
  bodiesTurnedAway: number;
  /** Bodies that were still awaited at the end. */
  bodiesHeld: number;
  /** Without an answer, since the connection broke. */
  cut: number;
  hung: number;
  other: number;
  /** Looks at `/healthz` meanwhile. */
  alive: number;
  notAlive: number;
}

/** Each with one connection. They are there before the flood: Node takes a new one each turn of its event loop, which then are few. */
async function connectAll(base: string, count: number): Promise<Agent[]> {
  const agents = Array.from({ length: count }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
  const connecting = agents.map(async (agent) => {
    await delay(Math.random() * CONNECTING);
    await new Promise<void>((resolve, reject) => {
      get(`${base}/healthz`, { agent }, (response) => response.resume().once('close', resolve)).once(
        'error',
        reject,
      );
    });
  });
  await Promise.all(connecting);
  return agents;
}

/** Everyone who was answered comes again at once, until the time is up. */
async function flood(base: string, token: string, clients: readonly Agent[]): Promise<Tally> {
  const tally: Tally = {
    ...{ turnedAway: 0, bodiesTurnedAway: 0, bodiesHeld: 0 },
    ...{ cut: 0, hung: 0, other: 0, alive: 0, notAlive: 0 },
  };
  const [small, large] = [bodyOf(100), bodyOf(LARGE)];
  const over = AbortSignal.timeout(seconds * 1_000);
  setMaxListeners(0, over);
  const send = { url: `${base}/api/jobs`, token, over };
  const submitting = clients.map(async (agent, n) => {
    const unfinished = n >= SUBMISSIONS;
    if (!unfinished) await delay(BODIES_FIRST);
    while (!over.aborted) tally[await submit({ ...send, agent }, unfinished ? large : small, unfinished)]++;
  });
  async function look(): Promise<void> {
    while (!over.aborted) {
      const answer = await fetch(`${base}/healthz`, { signal: AbortSignal.timeout(HANGS) }).catch(() => null);
      tally[answer?.ok === true ? 'alive' : 'notAlive']++;
      await delay(500);
    }
  }
  await Promise.all([...submitting, look()]);
  for (const agent of clients) agent.destroy();
  return tally;
}

interface Sending {
  readonly url: string;
  readonly token: string;
  readonly agent: Agent;
  readonly over: AbortSignal;
}

/** @param unfinished keeps the last byte back */
function submit(
  { url, token, agent, over }: Sending,
  body: Buffer,
  unfinished = false,
): Promise<keyof Tally> {
  return new Promise((resolve) => {
    const headers = {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'content-length': body.length,
    };
    const posting = request(url, { method: 'POST', agent, headers, timeout: HANGS });
    const end = (what: keyof Tally): void => {
      over.removeEventListener('abort', hold);
      resolve(what);
      if (unfinished || what === 'hung') posting.destroy();
    };
    const hold = (): void => end('bodiesHeld');
    posting.on('timeout', () => end('hung'));
    posting.on('error', () => end('cut'));
    posting.on('response', (response) => {
      const isTurnedAway = response.statusCode === 503 && response.headers['retry-after'] === '1';
      const turnedAway = unfinished ? 'bodiesTurnedAway' : 'turnedAway';
      response.resume().once('close', () => end(isTurnedAway ? turnedAway : 'other'));
    });
    if (unfinished) {
      over.addEventListener('abort', hold);
      posting.write(body.subarray(0, -1));
    } else posting.end(body);
  });
}

function bodyOf(bytes: number): Buffer {
  return Buffer.from(JSON.stringify({ type: 'send-email', payload: { to: 'x'.repeat(bytes) } }));
}

async function logIn(databaseUrl: string, base: string): Promise<string> {
  const accounts = createAccounts(databaseUrl);
  try {
    const { email, password } = await accounts.newAccount();
    const { body } = await httpClient(base)('POST', '/api/auth/login', { body: { email, password } });
    return (body.data as { accessToken: string }).accessToken;
  } finally {
    await accounts.close();
  }
}
