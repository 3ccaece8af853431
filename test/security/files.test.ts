import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { describe, expect, onTestFinished, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { readClusterRecord } from '../../src/infrastructure/embedded/cluster.ts';
import { openEmbeddedPostgres } from '../../src/infrastructure/embedded/embedded-postgres.ts';
import { answeringServer } from '../../src/infrastructure/embedded/notice.ts';
import { silentLogger } from '../support/database.ts';
import { handlersFolder, testRegistry } from '../support/handlers.ts';

function setup() {
  const folder = mkdtempSync(path.join(tmpdir(), 'asyncly-files-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const dataDir = path.join(folder, 'data');
  const outside = path.join(folder, 'outside');
  writeFileSync(outside, 'not ours to touch', { mode: 0o644 });
  chmodSync(outside, 0o644);
  return {
    dataDir,
    outside,
    secrets: path.join(dataDir, 'secrets.json'),
    load: () => loadConfig({ DATA_DIR: dataDir }, path.join(folder, 'none.env')),
    untouched: () =>
      expect([readFileSync(outside, 'utf8'), statSync(outside).mode & 0o777]).toEqual([
        'not ours to touch',
        0o644,
      ]),
  };
}

/** The modes of a folder and everything in it, by name. */
function modesOf(folder: string): Record<string, string> {
  return Object.fromEntries(
    ['.', ...readdirSync(folder)].map((name) => [
      name,
      (lstatSync(path.join(folder, name)).mode & 0o777).toString(8),
    ]),
  );
}

/** Whatever the shell says about new files. */
function withUmask<T>(mask: number, work: () => T): T {
  const before = process.umask(mask);
  try {
    return work();
  } finally {
    process.umask(before);
  }
}

describe('DATA_DIR', () => {
  test('and the secrets in it are for the owner alone, however open files usually are', () => {
    const { dataDir, load } = setup();
    withUmask(0, load);
    expect(modesOf(dataDir)).toEqual({ '.': '700', 'secrets.json': '600' });
  });

  test('has nothing of the embedded Postgres that others may read', async () => {
    const { dataDir } = setup();
    const before = process.umask(0);
    const postgres = await openEmbeddedPostgres({
      dataDir,
      roles: [],
      logger: silentLogger,
      settings: { fsync: 'off' },
    });
    process.umask(before);
    const modes = modesOf(dataDir);
    await postgres.stop();
    expect(modes).toMatchObject({ '.': '700', 'cluster.json': '600', 'postgres.json': '600' });
    for (const mode of Object.values(modes)) expect(mode).toMatch(/^[67]00$/);
  }, 60_000);

  test('secrets that others could read are theirs no longer', () => {
    const { load, secrets } = setup();
    const first = load();
    chmodSync(secrets, 0o666);
    expect(load().accessKey.equals(first.accessKey)).toBe(true);
    expect(statSync(secrets).mode & 0o777).toBe(0o600);
  });

  test('a link in place of the secrets is neither read nor followed', () => {
    const { dataDir, outside, secrets, load, untouched } = setup();
    mkdirSync(dataDir);
    symlinkSync(outside, secrets);
    expect(load).toThrow(`DATA_DIR: cannot keep generated secrets in ${secrets}: it is a symbolic link`);
    untouched();
  });

  test('a link to nowhere is not written through', () => {
    const { dataDir, outside, secrets, load, untouched } = setup();
    mkdirSync(dataDir);
    symlinkSync(`${outside}-new`, secrets);
    expect(load).toThrow('it is a symbolic link');
    expect(readdirSync(path.dirname(outside))).not.toContain('outside-new');
    untouched();
  });

  test('a link where the draft of the secrets might go gets nothing', () => {
    const { dataDir, outside, secrets, load, untouched } = setup();
    mkdirSync(dataDir);
    for (const name of [`${secrets}.${process.pid}`, `${secrets}.tmp`, `${secrets}.new`])
      symlinkSync(outside, name);
    load();
    untouched();
    expect(lstatSync(secrets).isFile()).toBe(true);
  });

  test.each([
    ['pipe', (file: string) => void execFileSync('mkfifo', [file])],
    ['folder', (file: string) => mkdirSync(file)],
  ])('a %s in place of the secrets is refused, and nobody waits for it', (_, make) => {
    const { dataDir, secrets, load } = setup();
    mkdirSync(dataDir);
    make(secrets);
    expect(load).toThrow('it is no regular file');
  });

  // Only root can give files away.
  test.runIf(process.getuid?.() === 0)("another user's secrets are not taken for ours", () => {
    const { secrets, load } = setup();
    load();
    chownSync(secrets, 65_534, 65_534);
    expect(load).toThrow('it belongs to another user (uid 65534)');
  });

  test.each(['cluster.json', 'postgres.json'])('a link in place of %s is not followed', async (name) => {
    const { dataDir, outside, untouched } = setup();
    mkdirSync(dataDir);
    symlinkSync(outside, path.join(dataDir, name));
    const read = async (): Promise<unknown> =>
      name === 'cluster.json' ? readClusterRecord(dataDir) : answeringServer(dataDir, undefined);
    await expect(read()).rejects.toThrow('it is a symbolic link');
    untouched();
  });
});

describe('HANDLERS_DIR', () => {
  const module = (type: string) => `export default { type: '${type}', run: async () => 1 };`;
  async function warningsOf(handlersDir: string): Promise<unknown[]> {
    const lines: { level: number }[] = [];
    const write = (line: string): void => void lines.push(JSON.parse(line) as { level: number });
    await testRegistry({ handlersDir, logger: pino({ base: null, timestamp: false }, { write }) });
    return lines.filter(({ level }) => level >= 40);
  }

  test('that everyone may change is told of, by name', async () => {
    const folder = await handlersFolder({ 'a.mjs': module('a'), 'b.mjs': module('b') });
    expect(await warningsOf(folder)).toEqual([]);
    chmodSync(path.join(folder, 'b.mjs'), 0o666);
    expect(await warningsOf(folder)).toMatchObject([{ folder, open: ['b.mjs'] }]);
    chmodSync(folder, 0o777);
    expect(await warningsOf(folder)).toMatchObject([{ folder, open: ['.', 'b.mjs'] }]);
  });

  test('with a link to nothing says which it is', async () => {
    const handlersDir = await handlersFolder({ 'a.mjs': module('a') });
    symlinkSync('/nowhere/b.mjs', path.join(handlersDir, 'b.mjs'));
    await expect(testRegistry({ handlersDir })).rejects.toThrow(
      'HANDLERS_DIR: b.mjs cannot be loaded: it is a link to nothing',
    );
  });

  test('with what is no file loads the rest', async () => {
    const handlersDir = await handlersFolder({ 'a.mjs': module('a') });
    execFileSync('mkfifo', [path.join(handlersDir, 'pipe.mjs')]);
    mkdirSync(path.join(handlersDir, 'folder.mjs'));
    expect((await testRegistry({ handlersDir })).types).toContain('a');
  });
});
