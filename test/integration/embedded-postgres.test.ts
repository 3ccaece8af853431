import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';

import { openEmbeddedPostgres } from '../../src/infrastructure/embedded/embedded-postgres.ts';
import type {
  EmbeddedPostgres,
  EmbeddedPostgresOptions,
} from '../../src/infrastructure/embedded/embedded-postgres.ts';
import { createLogger } from '../../src/logger.ts';
import { startEmbeddedProcess } from '../support/embedded-process.ts';
import { eventually } from '../support/waiting.ts';

const logger = createLogger('silent');
/** No test here cuts the power, and a killed process loses nothing that it has written. */
const settings = { fsync: 'off' };
const notice = z.object({ url: z.string(), port: z.number(), pid: z.number(), serverPid: z.number() });

/** A DATA_DIR with an empty database, stopped: a copy of it starts faster than initdb works. */
let made: string;
let dataDir: string;
let releases: (() => Promise<void>)[];

beforeAll(async () => {
  made = await mkdtemp(join(tmpdir(), 'asyncly-embedded-'));
  await (await openEmbeddedPostgres({ dataDir: made, roles: [], logger, settings })).stop();
});

afterAll(() => rm(made, { recursive: true, force: true }));

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'asyncly-embedded-'));
  releases = [() => rm(dataDir, { recursive: true, force: true })];
});

afterEach(async () => {
  for (const release of releases.reverse()) await release();
});

async function open(
  roles: readonly string[],
  options: Partial<EmbeddedPostgresOptions> = {},
): Promise<EmbeddedPostgres> {
  const postgres = await openEmbeddedPostgres({ dataDir, roles, logger, settings, ...options });
  releases.push(() => postgres.stop());
  return postgres;
}

async function openElsewhere(
  roles: readonly string[],
  path?: string,
): Promise<Awaited<ReturnType<typeof startEmbeddedProcess>>> {
  const other = await startEmbeddedProcess(dataDir, roles, path);
  releases.push(() => other.end('SIGTERM'));
  return other;
}

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

/** Without `setpriv` the server doesn't end with its owner. */
async function pathWithoutSetpriv(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'asyncly-path-'));
  releases.push(() => rm(folder, { recursive: true, force: true }));
  const programs = ['unshare', 'sh', 'test', 'id', 'useradd', 'chmod'];
  for (const from of ['/bin', '/usr/bin', '/usr/sbin']) {
    const present = await readdir(from).catch((): string[] => []);
    for (const program of programs.filter((name) => present.includes(name))) {
      await symlink(join(from, program), join(folder, program)).catch(() => undefined);
    }
  }
  return folder;
}

/** Repeats the query until the server answers. */
async function queryWhenBack(url: string, sql: string): Promise<Record<string, unknown>[]> {
  return eventually(() => query(url, sql), 20_000);
}

async function readNotice(): Promise<z.infer<typeof notice>> {
  return notice.parse(JSON.parse(await readFile(join(dataDir, 'postgres.json'), 'utf8')));
}

/** The message of the refusal. */
async function refusal(opening: Promise<EmbeddedPostgres>): Promise<string> {
  const result = await opening.then(
    () => 'opened',
    (error: unknown) => error,
  );
  expect(result).toMatchObject({ code: 'STARTUP' });
  return (result as Error).message;
}

describe('an embedded Postgres', () => {
  beforeEach(() => cp(made, dataDir, { recursive: true }));

  it('keeps its data, its port and its password over a restart', async () => {
    const first = await open(['api']);
    expect(first.owner).toBe(true);
    expect(await query(first.url, 'SHOW server_encoding')).toEqual([{ server_encoding: 'UTF8' }]);
    await query(first.url, "CREATE TABLE kept AS SELECT 'für immer' AS text");
    for (const file of ['postgres.json', 'cluster.json']) {
      expect((await stat(join(dataDir, file))).mode & 0o777).toBe(0o600);
    }
    const { serverPid } = await readNotice();
    await Promise.all([first.stop(), first.stop()]);
    expect(() => process.kill(serverPid, 0)).toThrow('ESRCH');
    expect(await readdir(dataDir)).toEqual(['cluster.json', 'postgres']);

    const second = await open(['api']);
    expect(second.url).toBe(first.url);
    expect(await query(second.url, 'SELECT text FROM kept')).toEqual([{ text: 'für immer' }]);
    await second.stop();

    const blocker = createServer().listen(Number(new URL(first.url).port), '127.0.0.1');
    releases.push(async () => {
      await new Promise((resolve) => blocker.close(resolve));
    });
    const third = await open(['api']);
    expect(new URL(third.url).port).not.toBe(new URL(first.url).port);
    expect(await query(third.url, 'SELECT text FROM kept')).toEqual([{ text: 'für immer' }]);
  });

  it('is shared by processes of other roles and by those without one, and refuses a role that runs already', async () => {
    const owner = await openElsewhere(['api', 'projector']);
    const worker = await open(['worker']);
    const cli = await open([]);
    expect([worker.owner, cli.owner, worker.url, cli.url]).toEqual([false, false, owner.url, owner.url]);
    expect(await refusal(open(['dispatcher', 'api']))).toContain(
      `Role api already runs in process ${owner.pid}`,
    );
    expect(await refusal(open(['worker']))).toContain(`Role worker already runs in process ${process.pid}`);
    // The refused process kept no role.
    await (await open(['dispatcher'])).stop();
    await cli.stop();
    expect(await query(worker.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  it('is taken over by a process left behind, at the same address, when its owner is killed or stops', async () => {
    const first = await openElsewhere(['api']);
    await query(first.url, 'CREATE TABLE kept AS SELECT 1 AS one');
    const worker = await open(['worker']);
    await first.end('SIGKILL');
    // The dead owner's server may still answer once before it ends.
    await eventually(() => worker.owner);
    expect(await queryWhenBack(worker.url, 'SELECT one FROM kept')).toEqual([{ one: 1 }]);

    const second = await openElsewhere(['api']);
    expect(second).toMatchObject({ owner: false, url: worker.url });
    await worker.stop();
    await eventually(async () => (await readNotice()).pid === second.pid);
    expect(await queryWhenBack(second.url, 'SELECT one FROM kept')).toEqual([{ one: 1 }]);
  });

  it('starts again at once, with its data, after its owner was killed', async () => {
    const killed = await openElsewhere(['api', 'worker']);
    await query(killed.url, 'CREATE TABLE kept AS SELECT 1 AS one');
    await killed.end('SIGKILL');
    const next = await open(['api', 'worker']);
    expect(next).toMatchObject({ owner: true, url: killed.url });
    expect(await query(next.url, 'SELECT one FROM kept')).toEqual([{ one: 1 }]);
  });

  it('stops a server that has outlived its killed owner, and starts its own', async () => {
    const killed = await openElsewhere(['api'], await pathWithoutSetpriv());
    await query(killed.url, 'CREATE TABLE kept AS SELECT 1 AS one');
    const { serverPid } = await readNotice();
    await killed.end('SIGKILL');
    expect(await query(killed.url, 'SELECT one FROM kept')).toEqual([{ one: 1 }]);
    const next = await open(['api']);
    expect((await readNotice()).serverPid).not.toBe(serverPid);
    expect(await query(next.url, 'SELECT one FROM kept')).toEqual([{ one: 1 }]);
  });

  it('comes back at the same address when the server itself is killed', async () => {
    const postgres = await open(['api']);
    await query(postgres.url, 'CREATE TABLE kept AS SELECT 1 AS one');
    for (let times = 0; times < 2; times++) {
      const { serverPid } = await readNotice();
      process.kill(serverPid, 'SIGKILL');
      await expect.poll(async () => (await readNotice()).serverPid, { timeout: 20_000 }).not.toBe(serverPid);
      expect(await queryWhenBack(postgres.url, 'SELECT one FROM kept')).toEqual([{ one: 1 }]);
    }
  });

  it('starts though the pid in postmaster.pid is some other program', async () => {
    const pidFile = join(dataDir, 'postgres', 'postmaster.pid');
    await writeFile(pidFile, `${process.pid}\n${join(dataDir, 'postgres')}\n1\n1\n\n127.0.0.1\n\n`, {
      mode: 0o600,
    });
    expect((await open([])).owner).toBe(true);
  });
});

describe('an embedded Postgres refuses to start', () => {
  it('on the data of another major version', async () => {
    await mkdir(join(dataDir, 'postgres'));
    await writeFile(join(dataDir, 'postgres', 'PG_VERSION'), '9\n');
    expect(await refusal(open([]))).toMatch(/was made by Postgres 9, .* Postgres 18/);
  });

  it('in a folder of something else', async () => {
    await mkdir(join(dataDir, 'postgres'));
    await writeFile(join(dataDir, 'postgres', 'thesis.txt'), 'chapter 1');
    expect(await refusal(open([]))).toContain('is not a Postgres data directory');
    expect(await readdir(join(dataDir, 'postgres'))).toEqual(['thesis.txt']);
  });

  it('where DATA_DIR is a file or below one', async () => {
    const file = join(dataDir, 'file');
    await writeFile(file, '');
    expect(await refusal(open([], { dataDir: file }))).toContain(`${file} can't be used: it is a file`);
    expect(await refusal(open([], { dataDir: join(file, 'below') }))).toContain(
      'a part of the path is a file',
    );
  });

  it('in a folder that can not be written', async () => {
    // No mode of a folder stops root; the kernel's own folder does.
    const root = process.getuid?.() === 0;
    const closed = root ? '/sys/kernel' : join(dataDir, 'closed');
    if (!root) await mkdir(closed, { mode: 0o500 });
    expect(await refusal(open([], { dataDir: closed }))).toContain(`${closed} can't be used`);
  });

  it('with a damaged record of its password', async () => {
    await writeFile(join(dataDir, 'cluster.json'), '{"password":');
    expect(await refusal(open([]))).toContain('cluster.json is damaged');
  });

  it('with what the server said about a setting it does not take', async () => {
    // Left by a start that was killed in the middle of initdb.
    await mkdir(join(dataDir, 'postgres-new-half'));
    await writeFile(join(dataDir, 'postgres-new-half', 'PG_VERSION'), '18\n');
    expect(await refusal(open([], { settings: { ...settings, max_connections: 'many' } }))).toContain(
      'invalid value for parameter "max_connections": "many"',
    );
    // Nothing is left that stands in the way of the next start.
    await (await open([])).stop();
    expect(await readdir(dataDir)).toEqual(['cluster.json', 'postgres']);
  });
});

describe.runIf(process.getuid?.() === 0)('as root', () => {
  it.each(['namespace', 'system-user'] as const)(
    'an embedded Postgres runs in mode %s',
    async (launchMode) => {
      const systemFolder = await mkdtemp(join(tmpdir(), 'asyncly-system-'));
      releases.push(() => rm(systemFolder, { recursive: true, force: true }));
      await chmod(dataDir, 0o700);
      const first = await open(['api'], { launchMode, systemFolder });
      await query(first.url, 'CREATE TABLE kept AS SELECT 1 AS one');
      await first.stop();
      // What was chosen once holds for later starts.
      const second = await open(['api'], { systemFolder });
      expect(await query(second.url, 'SELECT one FROM kept')).toEqual([{ one: 1 }]);
    },
  );
});
