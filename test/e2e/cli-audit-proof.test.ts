import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { runCli, spawnCli } from '../support/cli-process.ts';
import { seal } from '../support/auditing.ts';
import { doubleEnd, postgresEnd, writeHistory } from '../support/copying.ts';
import type { CopyEnd } from '../support/copying.ts';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import { createTestDatabase, silentLogger } from '../support/database.ts';
import { httpClient } from '../support/http-client.ts';
import { startService } from '../support/service.ts';
import { eventually } from '../support/waiting.ts';

const TIMEOUT = 120_000;

/** A folder with a key pair in it, and the command line in that folder. */
async function createDesk() {
  const cwd = await mkdtemp(path.join(tmpdir(), 'asyncly-audit-'));
  onTestFinished(() => rm(cwd, { recursive: true, force: true }));
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const [key, pub] = [path.join(cwd, 'audit.pem'), path.join(cwd, 'audit.pub.pem')];
  await writeFile(key, privateKey.export({ type: 'pkcs8', format: 'pem' }));
  await writeFile(pub, publicKey.export({ type: 'spki', format: 'pem' }));
  const run = (args: readonly string[], env: Record<string, string> = {}) => runCli(args, { cwd, env });
  return { cwd, key, pub, run, file: path.join(cwd, 'export.ndjson') };
}

/** A sealed store of 140 events, and the environment that leads a command to it. */
async function openStore(kind: 'Postgres' | 'EventStoreDB') {
  const database = await postgresEnd();
  const ends: CopyEnd[] = [database];
  onTestFinished(async () => {
    for (const end of ends.reverse()) await end.close();
  });
  const double = kind === 'EventStoreDB' ? await doubleEnd() : null;
  if (double) ends.push(double);
  const { store } = double ?? database;
  await writeHistory(store, 20);
  const tables = await createSealed(database, store);
  const env = { DATABASE_URL: database.url, ...(double && { EVENTSTORE_URL: double.url }) };
  return { store, double, env, ...tables };
}

async function createSealed(database: CopyEnd, store: CopyEnd['store']) {
  const tables = createDatabase({ url: database.url, max: 2, applicationName: 'test', logger: silentLogger });
  onTestFinished(() => tables.close());
  await seal({ store, database: tables });
  return { tables };
}

async function exportsIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.startsWith('export'));
}

describe.each(['Postgres', 'EventStoreDB'] as const)('asyncly audit on %s', (kind) => {
  test('exports what can be verified without the service', { timeout: TIMEOUT }, async () => {
    const { run, file, key, pub } = await createDesk();
    const { env } = await openStore(kind);
    const signed = { ...env, AUDIT_SIGNING_KEY_FILE: key };
    const exported = await run(['audit', 'export', '--out', file, '--json'], signed);
    expect(exported).toMatchObject({ code: 0 });
    const report = JSON.parse(exported.stdout) as Record<string, string>;
    expect(report).toMatchObject({ file, events: 140, first: 1, last: 140 });
    expect((await stat(file)).mode & 0o777).toBe(0o600);

    // No environment at all: a wrong one would be refused.
    const nowhere = { DATABASE_URL: 'none', PORT: 'none' };
    const proven = await run(['audit', 'verify', file, '--public-key', pub], nowhere);
    expect(proven).toMatchObject({ code: 0 });
    expect(proven.stdout).toMatch(
      /^All 140 events, number 1 to 140, are in the file[^]*Proven by the manifest's signature/,
    );
    const byRoot = await run(['audit', 'verify', file, '--root', report['root'] ?? '', '--json'], nowhere);
    expect(JSON.parse(byRoot.stdout)).toMatchObject({ ok: true, proven: true, proofs: [{ by: 'root' }] });
    const alone = await run(['audit', 'verify', file], nowhere);
    expect(alone).toMatchObject({ code: 0 });
    expect(alone.stdout).toContain('This proves only that the file is consistent in itself');
    expect(alone.stdout).toContain(`It names key ${report['keyId'] ?? ''} as its signer`);

    const lines = (await readFile(file, 'utf8')).split('\n');
    const { id, subject } = JSON.parse(lines[76] ?? '') as Record<string, string>;
    await writeFile(
      file,
      lines.map((line, n) => (n === 76 ? line.replace('1.5e+300', '1.6e+300') : line)).join('\n'),
    );
    const changed = await run(['audit', 'verify', file, '--public-key', pub], nowhere);
    expect(changed.code).toBe(1);
    expect(changed.stdout).toContain(
      `Event 77 in line 77 was changed: Tested ${id ?? ''} (${subject ?? ''}@`,
    );
    const told = await run(['audit', 'verify', file, '--json'], nowhere);
    expect(JSON.parse(told.stdout)).toMatchObject({
      ok: false,
      proven: false,
      finding: { problem: 'changed', number: 77, line: 77, id, stream: subject },
    });
  });

  test('exports a range to standard output', { timeout: TIMEOUT }, async () => {
    const { run } = await createDesk();
    const { env } = await openStore(kind);
    const exported = await run(['audit', 'export', '--from', '11', '--to', '20'], env);
    expect(exported).toMatchObject({ code: 0 });
    expect(exported.stdout.split('\n')).toHaveLength(12);
    expect(exported.stderr).toContain('Exported 10 events, number 11 to 20.');
    expect(exported.stderr).toContain('Not signed');
    const none = await run(
      ['audit', 'export', '--from', '11', '--to', '1000', '--out', 'none', '--json'],
      env,
    );
    expect(none.code).toBe(1);
    expect(JSON.parse(none.stdout)).toMatchObject({ error: { code: 'RANGE_BEYOND_END', events: 140 } });
    expect((await run(['audit', 'export', '--from', 'yesterday'], env)).code).toBe(2);
    expect((await run(['audit', 'export', '--from', '0'], env)).code).toBe(2);
    expect(
      (await run(['audit', 'export', '--from', '2026-01-01', '--to', '2026-01-02'], env)).stderr,
    ).toContain('Exported 140 events');
  });

  test('verifies the event store itself', { timeout: TIMEOUT }, async () => {
    const { run, cwd } = await createDesk();
    const { env, double, store, tables } = await openStore(kind);
    const good = await run(['audit', 'verify'], env);
    expect(good).toMatchObject({ code: 0 });
    expect(good.stdout).toMatch(
      /^All 140 events are as they were[^]*No signature was verified and no root given/,
    );
    const kept = /Chain (\w+)/.exec(good.stdout)?.[1] ?? '';
    await writeHistory(store, 1);
    await seal({ store, database: tables });
    expect((await run(['audit', 'verify', '--root', kept], env)).stdout).toContain(
      'The given root proves the events up to number 140.',
    );

    if (double) {
      const victim = double.double.log.all.filter(({ type }) => type === 'Tested')[30];
      if (victim) double.double.log.remove(victim);
    } else {
      await tables.query(
        `DELETE FROM eventstore.events WHERE position = (SELECT position FROM eventstore.events ORDER BY 1 OFFSET 30 LIMIT 1)`,
      );
    }
    const bad = await run(['audit', 'verify', '--json'], env);
    expect(bad.code).toBe(1);
    expect(JSON.parse(bad.stdout)).toMatchObject({ ok: false, finding: { problem: 'missing', number: 31 } });
    const refused = await run(['audit', 'export', '--out', 'export.ndjson'], env);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('asyncly: The store lacks event 31');
    expect(await exportsIn(cwd)).toEqual([]);
  });
});

test('an export that is interrupted leaves nothing behind', { timeout: TIMEOUT }, async () => {
  const { cwd, file } = await createDesk();
  const { env, double } = await openStore('EventStoreDB');
  await writeFile(file, 'what was there before');
  const release = double?.double.stall();
  const exporting = spawnCli(['audit', 'export', '--out', file], { cwd, env });
  await eventually(async () => (await readdir(cwd)).some((name) => name.endsWith('.part')), 60_000);
  exporting.kill('SIGINT');
  expect(await exporting.ended).toMatchObject({ code: 130 });
  release?.();
  expect(await exportsIn(cwd)).toEqual(['export.ndjson']);
  expect(await readFile(file, 'utf8')).toBe('what was there before');
});

test('what is given to verify by is looked at first', { timeout: TIMEOUT }, async () => {
  const { run, cwd, key, pub } = await createDesk();
  expect(await run(['audit', 'verify', 'none.ndjson'])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('asyncly: Cannot read none.ndjson: ENOENT') as unknown,
  });
  await writeFile(path.join(cwd, 'no-key'), 'hello');
  expect((await run(['audit', 'verify', 'x', '--public-key', 'no-key'])).stderr).toBe(
    'asyncly: Cannot read no-key: it holds no Ed25519 key in PEM form\n',
  );
  expect((await run(['audit', 'verify', 'x', '--root', 'abc'])).code).toBe(2);
  expect((await run(['audit', 'verify', 'no-key', '--public-key', pub])).stdout).toContain(
    'no-key is not what it was. The file is empty, or cut off in its first line.',
  );
  await using empty = await createTestDatabase({ migrated: false });
  const unmigrated = await run(['audit', 'verify'], { DATABASE_URL: empty.url, AUDIT_SIGNING_KEY_FILE: key });
  expect(unmigrated).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('asyncly migrate') as unknown,
  });
});

test('the service seals and signs what happens in it', { timeout: TIMEOUT }, async () => {
  const { run, key, pub, file } = await createDesk();
  const service = await startService({ AUDIT_SIGNING_KEY_FILE: key });
  onTestFinished(() => service.stop());
  const call = httpClient(service.base);
  const { body } = await call('POST', '/api/auth/register', {
    body: { email: 'audit@example.com', password: 'securepassword123' },
  });
  const { apiKey: token } = body.data as { apiKey: string };
  await call('POST', '/api/jobs', { token, body: { type: 'send-email', payload: {} } });
  await eventually(async () => {
    const { body: list } = await call('GET', '/api/jobs?status=DONE', { token });
    return (list.data as unknown[]).length === 1;
  }, 60_000);
  const env = { DATABASE_URL: service.databaseUrl, AUDIT_SIGNING_KEY_FILE: key };
  await eventually(async () => {
    const { stdout } = await run(['audit', 'verify', '--json'], env);
    const verdict = JSON.parse(stdout) as { ok: boolean; events: number; signed: { events: number } | null };
    expect(verdict).toMatchObject({ ok: true });
    return (verdict.signed?.events ?? 0) > 0;
  }, 60_000);
  expect((await run(['audit', 'export', '--out', file], env)).code).toBe(0);
  expect(await run(['audit', 'verify', file, '--public-key', pub])).toMatchObject({ code: 0 });
});
