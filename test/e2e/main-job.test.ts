import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase } from '../support/database.ts';
import { httpClient } from '../support/http-client.ts';
import { spawnService } from '../support/service-process.ts';
import type { ServiceProcess } from '../support/service-process.ts';
import { testHandlersDir } from '../support/service.ts';
import type { ServiceSettings } from '../support/service.ts';
import { eventually } from '../support/waiting.ts';

/** A machine that does other things as well starts a process and a Postgres slowly. */
const TEST_TIMEOUT_MS = 240_000;

/** A home for one service: its folder, and processes that end with the test. */
async function newHome() {
  const folder = await mkdtemp(path.join(tmpdir(), 'asyncly-main-'));
  const dataDir = path.join(folder, 'data');
  const processes: ServiceProcess[] = [];
  onTestFinished(async () => {
    // The last started hangs on the first, which owns the Postgres.
    for (const one of processes.reverse()) await one.end('SIGTERM');
    await rm(folder, { recursive: true, force: true });
  });
  const start = (settings: ServiceSettings): ServiceProcess => {
    const one = spawnService({ PORT: '0', DATA_DIR: dataDir, ...settings }, folder);
    processes.push(one);
    return one;
  };
  return { folder, dataDir, start };
}

async function registeredClient(url: string) {
  const api = httpClient(`${url}/api`);
  const credentials = { email: 'developer@example.com', password: 'securepassword123' };
  const registered = await api('POST', '/auth/register', { body: credentials });
  const login = await api('POST', '/auth/login', { body: credentials });
  const { accessToken: token } = login.body.data as { accessToken: string };
  const submit = async (type: string, payload: object) => {
    const { status, body } = await api('POST', '/jobs', { token, body: { type, payload } });
    expect(status).toBe(201);
    return body.data as { id: string; status: string };
  };
  const job = async (id: string) =>
    (await api('GET', `/jobs/${id}`, { token })).body.data as Record<string, unknown>;
  const total = async (at: string, status: string): Promise<number> => {
    const { body } = await httpClient(`${at}/api`)('GET', `/jobs?status=${status}&limit=1`, { token });
    return (body.meta as { total: number }).total;
  };
  return { api, token, registered, submit, job, total };
}

interface StoredEvent {
  readonly stream: string;
  readonly type: string;
  readonly data: Record<string, unknown>;
}

/** The events of all jobs, from the store itself. */
async function storedEvents(dataDir: string): Promise<readonly StoredEvent[]> {
  const file = await readFile(path.join(dataDir, 'postgres.json'), 'utf8');
  const { url } = z.object({ url: z.string() }).parse(JSON.parse(file));
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<StoredEvent>(
      `SELECT stream, type, data FROM eventstore.events WHERE stream LIKE 'job-%' ORDER BY position`,
    );
    return rows;
  } finally {
    await client.end();
  }
}

const ENDS = ['JobCompleted', 'JobFailed', 'JobCancelled'];

function endsPerJob(events: readonly StoredEvent[]): number[] {
  const ends = new Map<string, number>();
  for (const { stream, type } of events) {
    ends.set(stream, (ends.get(stream) ?? 0) + (ENDS.includes(type) ? 1 : 0));
  }
  return [...ends.values()];
}

test(
  'the walk of the document; a second service on the same data is refused meanwhile',
  { timeout: TEST_TIMEOUT_MS },
  async () => {
    const { start } = await newHome();
    const url = (await start({ HANDLER_TIME_SCALE: '0.1' }).up())!;
    const { api, token, registered, submit, job } = await registeredClient(url);
    expect(registered).toMatchObject({ status: 201, body: { message: 'User registered successfully' } });
    const { id, status } = await submit('send-email', { to: 'recipient@example.com', subject: 'Welcome' });
    expect(status).toBe('PENDING');
    await eventually(async () => (await job(id))['status'] === 'DONE', 20_000);
    expect(await job(id)).toMatchObject({ result: { sent: true } });
    await eventually(async () => {
      const { body } = await api('GET', `/jobs/${id}/logs`, { token });
      expect((body.data as { message: string }[]).map(({ message }) => message)).toEqual([
        'Job started: type=send-email',
        'Status updated to PROCESSING',
        'Processing job type: send-email',
        'Job completed successfully',
      ]);
      return true;
    });

    const second = await start({}).ended;
    expect(second.code).toBeGreaterThan(0);
    expect(second.output).toMatch(/^Asyncly cannot start: .*DATA_DIR/m);
    expect(second.output).not.toMatch(/^\s+at /m);
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
  },
);

test(
  'kill -9 in the middle of 200 jobs loses none and ends none twice',
  { timeout: TEST_TIMEOUT_MS },
  async () => {
    const { start, dataDir } = await newHome();
    const settings = { HANDLER_TIME_SCALE: '0.1', RATE_LIMIT_JOBS_PER_MINUTE: '1000', LOG_LEVEL: 'info' };
    const first = start(settings);
    const url = (await first.up())!;
    const { submit, total } = await registeredClient(url);
    for (let batch = 0; batch < 10; batch++) {
      await Promise.all(Array.from({ length: 20 }, (_, n) => submit('anything', { n: batch * 20 + n })));
    }
    await eventually(async () => (await total(url, 'DONE')) >= 20, 60_000);
    await first.end('SIGKILL');

    const again = (await start(settings).up())!;
    const before = endsPerJob(await storedEvents(dataDir));
    expect(before).toHaveLength(200);
    expect(before.filter((ends) => ends === 0).length).toBeGreaterThan(0);
    await eventually(async () => (await total(again, 'DONE')) === 200, 90_000);
    expect(endsPerJob(await storedEvents(dataDir))).toEqual(Array<number>(200).fill(1));
  },
);

test(
  'a job outlives its workers: taken over after kill -9, released on SIGTERM, ended once',
  { timeout: TEST_TIMEOUT_MS },
  async () => {
    const { start, dataDir, folder } = await newHome();
    const file = path.join(folder, 'held');
    await writeFile(file, '');
    const common = { HANDLERS_DIR: testHandlersDir };
    const worker = async (): Promise<ServiceProcess> => {
      const one = start({ ...common, ROLES: 'worker' });
      await one.up();
      return one;
    };
    const url = (await start({ ...common, ROLES: 'api,projector,dispatcher' }).up())!;
    const client = await registeredClient(url);
    const typesOf = async () => (await storedEvents(dataDir)).map(({ type }) => type);

    const killed = await worker();
    const { id } = await client.submit('hold', { file });
    await eventually(async () => (await client.job(id))['status'] === 'PROCESSING', 40_000);
    await killed.end('SIGKILL');
    const successor = await worker();
    await eventually(async () => {
      expect(await typesOf()).toEqual(['JobCreated', 'JobStarted', 'JobStarted']);
      return true;
    }, 20_000);

    expect(await successor.end('SIGTERM')).toMatchObject({ code: 0 });
    expect(await typesOf()).toEqual(['JobCreated', 'JobStarted', 'JobStarted', 'JobReleased']);
    expect(await client.job(id)).toMatchObject({ status: 'PENDING', attempt: 1 });

    await worker();
    await eventually(async () => (await client.job(id))['status'] === 'PROCESSING', 40_000);
    await rm(file);
    await eventually(async () => (await client.job(id))['status'] === 'DONE', 20_000);
    expect(await client.job(id)).toMatchObject({ attempt: 1, result: { held: true } });
    expect(await typesOf()).toEqual([
      'JobCreated',
      'JobStarted',
      'JobStarted',
      'JobReleased',
      'JobStarted',
      'JobCompleted',
    ]);
  },
);

test('a port that is taken is named, and ends the start', { timeout: TEST_TIMEOUT_MS }, async () => {
  const { start } = await newHome();
  const occupant = createServer().listen(0, '127.0.0.1');
  await once(occupant, 'listening');
  onTestFinished(() => void occupant.close());
  const { port } = occupant.address() as AddressInfo;
  const database = await createTestDatabase();
  onTestFinished(() => database.drop());

  const { code, output } = await start({ PORT: String(port), DATABASE_URL: database.url }).ended;
  expect(code).toBeGreaterThan(0);
  expect(output).toMatch(new RegExp(`^Asyncly cannot start: .*PORT ${port} is in use`, 'm'));
  expect(output).not.toMatch(/^\s+at /m);
});
