import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { EventStore, PositionedEvent } from '../../src/events/event-store.ts';
import { jobStream } from '../../src/events/job.ts';
import { openStore, STORE_KINDS } from '../support/both-stores.ts';
import { runCli, spawnCli } from '../support/cli-process.ts';
import type { CliExit, CliProcess } from '../support/cli-process.ts';
import { createTestDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { startEventStoreDouble } from '../support/eventstoredb/server.ts';
import { httpClient } from '../support/http-client.ts';
import { events } from '../support/job-spec.ts';
import { recordHistories } from '../support/recorded-histories.ts';
import { spawnService } from '../support/service-process.ts';
import { everything, stored } from '../support/store.ts';
import { eventually } from '../support/waiting.ts';

/** Processes start slowly on a machine that is busy. */
const PATIENCE_MS = 90_000;
vi.setConfig({ testTimeout: 2 * PATIENCE_MS });

interface Line {
  readonly position: string;
  readonly stream: string;
  readonly revision: number;
  readonly id: string;
  readonly type: string;
}

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(path.join(tmpdir(), 'asyncly-cli-'));
});
afterAll(() => rm(cwd, { recursive: true, force: true }));

const linesOf = ({ stdout }: Pick<CliExit, 'stdout'>): Line[] =>
  stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
const placesOf = (list: readonly { readonly stream: string; readonly revision: number }[]): string[] =>
  list.map(({ stream, revision }) => `${stream}@${revision}`);

describe.each(STORE_KINDS)('asyncly events on %s', (kind) => {
  let testDatabase: TestDatabase;
  let store: EventStore;
  let env: Record<string, string>;
  /** What is in the store before any test writes. */
  let all: PositionedEvent[];
  beforeAll(async () => {
    testDatabase = await createTestDatabase();
    env = { DATABASE_URL: testDatabase.url };
    if (kind === 'Postgres') {
      store = await openStore(kind, testDatabase);
    } else {
      const double = await startEventStoreDouble();
      store = await openStore(kind, testDatabase, double);
      env = { ...env, EVENTSTORE_URL: double.url };
    }
    await recordHistories(store, { jobs: 24, seed: 3 });
    all = await everything(store);
  });
  afterAll(async () => {
    await store.close();
    await testDatabase.drop();
  });

  const run = (...args: string[]): Promise<CliExit> => runCli(['events', ...args], { cwd, env });
  const spawnTail = (...args: string[]): CliProcess => spawnCli(['events', 'tail', ...args], { cwd, env });
  const append = () =>
    store.append(jobStream(randomUUID()), [stored(events.created())], { expected: 'no_stream' });

  test('stats counts what is there', async () => {
    const { code, stdout } = await run('stats', '--json');
    expect(code).toBe(0);
    const bytes = ({ data, metadata }: PositionedEvent): number =>
      Buffer.byteLength(JSON.stringify(data)) + Buffer.byteLength(JSON.stringify(metadata));
    const count = (some: readonly PositionedEvent[]) => ({
      events: some.length,
      bytes: some.reduce((sum, event) => sum + bytes(event), 0),
    });
    const streams = (some: readonly PositionedEvent[]) => new Set(some.map(({ stream }) => stream)).size;
    const categories = ['job', 'jobLog', 'webhook'].map((name) => {
      const own = all.filter(({ stream }) => stream.startsWith(`${name}-`));
      return [name, { ...count(own), streams: streams(own) }] as const;
    });
    const types = [...new Set(all.map(({ type }) => type))].map(
      (type) => [type, count(all.filter((event) => event.type === type))] as const,
    );
    const mark = ({ position, metadata: { occurredAt } }: PositionedEvent) => ({
      position: position.toString(),
      occurredAt,
    });
    // Every kind of stream and event is there, or this would say little.
    expect([streams(all) > 10, types.length]).toEqual([true, 14]);
    expect(JSON.parse(stdout)).toEqual({
      store: expect.stringMatching(kind === 'Postgres' ? /^postgres:\/\/[^@]*$/ : /^esdb:\/\//) as string,
      ...count(all),
      streams: streams(all),
      categories: Object.fromEntries(categories),
      types: Object.fromEntries(types),
      first: mark(all[0]!),
      last: mark(all.at(-1)!),
    });
    const text = await run('stats');
    expect(text.code).toBe(0);
    expect(text.stdout).toMatch(new RegExp(`^all +${all.length} +${streams(all)} +\\d+$`, 'm'));
    expect(text.stdout).toContain(`at position ${all.at(-1)!.position.toString()}`);
    expect(text.stderr).toMatch(/^Counting: 100 %/);
  });

  test('tail prints what is there, in the order of the store', async () => {
    const from = await run('tail', '--from-start', '--no-follow', '--json');
    expect(from).toMatchObject({ code: 0, stderr: '' });
    const lines = linesOf(from);
    expect(placesOf(lines)).toEqual(placesOf(all));
    expect(lines.map(({ position, id }) => [position, id])).toEqual(
      all.map(({ position, id }) => [position.toString(), id]),
    );
    expect(lines.some((line) => 'data' in line)).toBe(false);

    const half = all[Math.floor(all.length / 2)]!.position;
    const rest = await run('tail', '--after', half.toString(), '--no-follow', '--json', '--data');
    expect(linesOf(rest)).toMatchObject(
      all.filter(({ position }) => position > half).map(({ id, data }) => ({ id, data })),
    );
  });

  test('tail prints what was asked for alone', async () => {
    const id = all[0]!.stream.slice('job-'.length);
    const ofJob = all.filter(({ stream }) => stream.includes(id));
    const job = await run('tail', '--from-start', '--no-follow', '--json', '--job', id.toUpperCase());
    expect(placesOf(linesOf(job))).toEqual(placesOf(ofJob));

    const types = ['JobStarted', 'JobLogged'];
    const ofTypes = all.filter(({ type }) => types.includes(type));
    const typed = await run(
      'tail',
      '--from-start',
      '--limit',
      '3',
      '--json',
      ...types.flatMap((type) => ['--type', type]),
    );
    expect(typed.code).toBe(0);
    expect(placesOf(linesOf(typed))).toEqual(placesOf(ofTypes.slice(0, 3)));

    const text = await run(
      'tail',
      '--from-start',
      '--no-follow',
      '--prefix',
      'jobLog-',
      '--prefix',
      'webhook-',
    );
    const ofPrefixes = all.filter(({ stream }) => !stream.startsWith('job-'));
    expect(
      text.stdout
        .trimEnd()
        .split('\n')
        .map((line) => line.trim().split('  ').slice(1, 4)),
    ).toEqual(
      ofPrefixes.map(({ stream, revision, type, metadata }) => [
        metadata.occurredAt,
        `${stream}@${revision}`,
        type,
      ]),
    );
  });

  test('tail follows until Ctrl-C, which is how it is meant to end', async () => {
    const tail = spawnTail('--json');
    const seen = (): Line[] => linesOf({ stdout: tail.said.stdout.replace(/[^\n]*$/, '') });
    // It begins behind the newest event, whichever that is when it has started.
    await eventually(async () => {
      await append();
      return seen().length > 0;
    }, PATIENCE_MS);
    const first = seen()[0]!;
    const written = (await everything(store)).filter(({ position }) => position >= BigInt(first.position));
    await eventually(() => seen().length >= written.length, PATIENCE_MS);
    tail.kill('SIGINT');
    const end = await tail.ended;
    expect(end).toMatchObject({ code: 0, stderr: '' });
    expect(placesOf(linesOf(end))).toEqual(placesOf(written));
  });

  test('tail that has not come to its limit was interrupted', async () => {
    const tail = spawnTail('--from-start', '--limit', '1000000');
    await eventually(() => tail.said.stdout !== '', PATIENCE_MS);
    tail.kill('SIGTERM');
    expect(await tail.ended).toMatchObject({ code: 130, stderr: 'asyncly: Interrupted\n' });
  });
});

test('what is no sound wish is refused', async () => {
  const run = (...args: string[]) => runCli(['events', 'tail', ...args], { cwd });
  const wrong = [
    ['--after', 'x'],
    ['--after', '-1'],
    ['--after', '9223372036854775808'],
    ['--after', '1', '--from-start'],
    ['--limit', '0'],
    ['--prefix', '$system'],
    ['--job', 'x'],
    ['--job', randomUUID(), '--prefix', 'job-'],
  ];
  for (const args of wrong) expect([args, await run(...args)]).toMatchObject([args, { code: 2, stdout: '' }]);
});

test('a reader that goes away ends it quietly; a place beyond the end is an error', async () => {
  await using testDatabase = await createTestDatabase();
  const store = await openStore('Postgres', testDatabase);
  const env = { DATABASE_URL: testDatabase.url };
  try {
    await recordHistories(store, { jobs: 3, seed: 4 });
    // More than a pipe holds, so that it can be in the middle of it.
    const stream = jobStream(randomUUID());
    const filler = 'x'.repeat(100_000);
    const large = Array.from({ length: 40 }, () => stored(events.created({ payload: { filler } })));
    for (let n = 0; n < large.length; n += 10)
      await store.append(stream, large.slice(n, n + 10), { expected: 'any' });
    const tail = spawnCli(['events', 'tail', '--from-start', '--data'], { cwd, env });
    await eventually(() => tail.said.stdout !== '', PATIENCE_MS);
    tail.hangUp();
    // It may have shown all there is by then: it finds out when it has more to show.
    await store.append(stream, [stored(events.created({ payload: { filler } }))], { expected: 'any' });
    expect(await tail.ended).toMatchObject({ code: 0, stderr: '' });

    const head = await store.head();
    const beyond = await runCli(['events', 'tail', '--after', (head + 5n).toString(), '--json'], {
      cwd,
      env,
    });
    expect(beyond.code).toBe(1);
    expect(JSON.parse(beyond.stdout)).toMatchObject({
      error: { code: 'CHECKPOINT_AHEAD', head: head.toString() },
    });
  } finally {
    await store.close();
  }
});

test('stats of an empty store', async () => {
  await using empty = await createTestDatabase();
  const { code, stdout } = await runCli(['events', 'stats', '--json'], {
    cwd,
    env: { DATABASE_URL: empty.url },
  });
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    events: 0,
    streams: 0,
    bytes: 0,
    types: {},
    first: null,
    last: null,
  });
});

test('beside a service that runs on the embedded Postgres', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'asyncly-embedded-'));
  const service = spawnService({ PORT: '0', HANDLER_TIME_SCALE: '0.02' }, folder);
  try {
    const call = httpClient(`${(await service.up(PATIENCE_MS)) ?? ''}/api`);
    const credentials = { email: 'auditor@example.com', password: 'securepassword123' };
    const registered = await call('POST', '/auth/register', { body: credentials });
    const { apiKey: token } = registered.body.data as { apiKey: string };
    const tail = spawnCli(['events', 'tail', '--from-start', '--type', 'JobCompleted', '--limit', '1'], {
      cwd: folder,
    });
    const { body } = await call('POST', '/jobs', { token, body: { type: 't', payload: {} } });
    const { id } = body.data as { id: string };
    const { code, stdout } = await tail.ended;
    expect([code, stdout]).toEqual([0, expect.stringContaining(`job-${id}@2`) as string]);
    const audit = await runCli(['audit', 'job', id, '--json'], { cwd: folder });
    expect(linesOf(audit).map(({ type }) => type)).toEqual(['JobCreated', 'JobStarted', 'JobCompleted']);
  } finally {
    await service.end('SIGTERM');
    await rm(folder, { recursive: true, force: true });
  }
});
