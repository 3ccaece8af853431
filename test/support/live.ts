import { createSecretKey, randomBytes, randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import type { Bus } from '../../src/bus.ts';
import type { DomainEvent } from '../../src/events/codec.ts';
import type { EventStore } from '../../src/events/event-store.ts';
import { jobLogStream, jobStream } from '../../src/events/job.ts';
import { startLiveServer } from '../../src/http/live/live-server.ts';
import type { LiveServerLimits } from '../../src/http/live/live-limits.ts';
import type { LiveServerOptions } from '../../src/http/live/live-server.ts';
import { startHttpServer } from '../../src/http/server.ts';
import { createIdentityStore } from '../../src/identity/identity-store.ts';
import { createIdentity } from '../../src/identity/identity.ts';
import { newApiKey, sha256 } from '../../src/identity/tokens.ts';
import { createNotifyBus } from '../../src/infrastructure/postgres/notify-bus.ts';
import { startProjector } from '../../src/projections/projector.ts';
import { projections } from '../../src/projections/registry.ts';
import { createJobQueries } from '../../src/queries/jobs.ts';
import { createLiveQueries } from '../../src/queries/live.ts';
import { silentLogger } from './database.ts';
import { events, execution } from './job-spec.ts';
import { LiveClient } from './live-client.ts';
import { passwords } from './passwords.ts';
import { createTestStore, stored } from './store.ts';

export interface LiveOptions {
  readonly observe?: LiveServerOptions['observe'];
  readonly limits?: Partial<LiveServerLimits>;
  readonly allowedOrigins?: readonly string[];
  readonly accessExpiresIn?: string;
  /** Begin with a projector; default true. */
  readonly projector?: boolean;
  /** Drop everything that is published. */
  readonly deaf?: boolean;
  /** Stands between the live server and the store. */
  readonly wrapStore?: (store: EventStore) => EventStore;
}

/** The live server over a database of the test's own, with a projector and no worker; all gone when the test ends. */
export async function startLive(options: LiveOptions = {}) {
  const testStore = await createTestStore();
  const { url, database, store } = testStore;
  const realBus = createNotifyBus({ url, logger: silentLogger });
  const bus: Bus = options.deaf === true ? { ...realBus, publish: () => undefined } : realBus;
  const logLines: string[] = [];
  const logger = pino({ level: 'debug' }, { write: (line: string) => logLines.push(line) });
  const identity = createIdentity({
    database,
    accessKey: createSecretKey(randomBytes(32)),
    refreshKey: createSecretKey(randomBytes(32)),
    accessExpiresIn: options.accessExpiresIn ?? '15m',
    refreshExpiresIn: '7d',
    passwords,
    sessionEnded: (sessionId) => bus.publish('session-ended', { sessionId }),
  });
  const http = await startHttpServer({
    app: (req, res) => {
      let body = '';
      req.on('data', (chunk: Buffer) => (body += chunk.toString()));
      req.on('end', () => res.end(`plain ${req.method} ${req.url} ${body}`));
    },
    host: '127.0.0.1',
    port: 0,
    logger,
    drainMs: 1_000,
  });
  const seenStore = options.wrapStore?.(store) ?? store;
  const live = startLiveServer({
    server: http.server,
    store: seenStore,
    bus,
    identity,
    jobs: createJobQueries({ database, store: seenStore }),
    queries: createLiveQueries(database),
    observe: options.observe,
    allowedOrigins: options.allowedOrigins ?? [],
    logger,
    limits: options.limits ?? {},
  });
  const stops: (() => Promise<unknown>)[] = [];
  const project = (only = projections) => {
    const holder = randomUUID();
    const projector = startProjector({
      store,
      database,
      bus,
      logger: silentLogger,
      holder,
      projections: only,
    });
    stops.push(() => projector.stop());
    return projector;
  };
  if (options.projector !== false) project();
  onTestFinished(async () => {
    await live.stop();
    await http.stop();
    await Promise.all(stops.map((stop) => stop()));
    await realBus.close();
    await testStore.drop();
  });
  const base = `ws://127.0.0.1:${http.port}`;

  async function newUser() {
    const [id, token] = [randomUUID(), newApiKey()];
    const user = { id, email: `${id}@example.com`, passwordHash: '', createdAt: new Date() };
    await createIdentityStore(database).addUser(user, sha256(token));
    return { id, token };
  }

  async function login() {
    const credentials = { email: `${randomUUID()}@example.com`, password: 'securepassword123' };
    const { id, apiKey } = await identity.register(credentials);
    return { id, apiKey, ...(await identity.login(credentials)) };
  }

  /** A client with its own `connected` message behind it. */
  async function connect(token: string): Promise<LiveClient> {
    const client = new LiveClient(`${base}/ws?token=${token}`);
    onTestFinished(() => client.close());
    await client.message('connected');
    return client;
  }

  return {
    base,
    port: http.port,
    database,
    store,
    bus,
    identity,
    http,
    live,
    logLines,
    project,
    newUser,
    login,
    connect,
    ...jobsOf(store),
  };
}

/** A job whose events the test appends itself, one after the other. */
export interface TestJob {
  readonly id: string;
  readonly userId: string;
  /** Of the last event appended; -1 before the first. */
  readonly revision: number;
  append(...events: readonly DomainEvent[]): Promise<void>;
  log(message: string): Promise<void>;
}

function jobsOf(store: EventStore) {
  async function newJob(userId: string): Promise<TestJob> {
    const id = randomUUID();
    let revision = -1;
    const append = async (...given: readonly DomainEvent[]): Promise<void> => {
      const expected = revision < 0 ? 'no_stream' : revision;
      ({ revision } = await store.append(
        jobStream(id),
        given.map((event) => stored(event)),
        { expected },
      ));
    };
    const log = async (message: string): Promise<void> => {
      const data = { jobId: id, round: 1, attempt: 1, executionId: execution(1), message };
      await store.append(jobLogStream(id), [stored({ type: 'JobLogged', data })], { expected: 'any' });
    };
    await append(events.created({ jobId: id, userId }));
    return {
      id,
      userId,
      get revision() {
        return revision;
      },
      append,
      log,
    };
  }

  /** Takes a job through attempts with log lines to its end; `2 * attempts` revisions after the first. */
  async function run(job: TestJob, attempts = 2): Promise<void> {
    for (let attempt = 1; attempt < attempts; attempt++) {
      await job.append(events.started(attempt, { attempt }));
      await job.log(`attempt ${attempt}`);
      await job.append(events.attemptFailed(attempt, { attempt }));
    }
    await job.append(events.started(attempts, { attempt: attempts }));
    await job.log('the last one');
    await job.append(events.completed(attempts, { attempt: attempts }));
  }

  return { newJob, run };
}
