import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCli, spawnCli } from '../support/cli-process.ts';
import { doubleEnd, postgresEnd, writeHistory } from '../support/copying.ts';
import { createTestDatabase } from '../support/database.ts';
import { everything } from '../support/store.ts';
import { eventually } from '../support/waiting.ts';

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(path.join(tmpdir(), 'asyncly-cli-'));
});
afterAll(() => rm(cwd, { recursive: true, force: true }));

const run = (args: readonly string[], env: Record<string, string> = {}) => runCli(args, { cwd, env });

describe('asyncly', () => {
  test('explains itself', async () => {
    const help = await run(['--help']);
    expect(help).toMatchObject({ code: 0, stderr: '' });
    expect(help.stdout).toMatch(/migrate[^]*events[^]*projections[^]*Exit codes/);
    expect((await run(['events', 'copy', '--help'])).stdout).toMatch(/--from <address>[^]*kurrentdb:\/\//);
    expect((await run(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  test('tells wrong usage from failure', async () => {
    const wrong = await run(['events', 'copy', '--from', 'embedded']);
    expect(wrong).toMatchObject({ code: 2, stdout: '' });
    expect(wrong.stderr).toContain('--to <address>');

    const addresses = ['--from', 'embedded', '--to', 'esdb://127.0.0.1:1?tls=false'];
    const failed = await run(['events', 'copy', ...addresses], { DATA_DIR: path.join(cwd, 'none') });
    expect(failed).toMatchObject({ code: 1, stdout: '' });
    expect(failed.stderr).toMatch(/^asyncly: DATA_DIR .* has no embedded database\n$/);

    const json = await run(['events', 'copy', '--json', ...addresses], { DATA_DIR: path.join(cwd, 'none') });
    expect(json).toMatchObject({ code: 1, stderr: '' });
    expect(JSON.parse(json.stdout)).toMatchObject({ error: { code: 'STARTUP' } });
  });

  test('brings a database to this schema, once', async () => {
    await using empty = await createTestDatabase({ migrated: false });
    const env = { DATABASE_URL: empty.url };
    const first = await run(['migrate', '--json'], env);
    expect(first).toMatchObject({ code: 0, stdout: '{"migrated":true}\n' });
    expect(first.stderr).toContain('Migration applied');
    expect(await run(['migrate', '--json'], env)).toMatchObject({ code: 0, stderr: '' });
  });
});

describe('asyncly events copy', () => {
  test.each(['SIGKILL', 'SIGINT'] as const)('goes on after %s', async (signal) => {
    const from = await postgresEnd();
    const to = await doubleEnd();
    const args = ['events', 'copy', '--from', from.url, '--to', to.url, '--json'];
    try {
      const events = await writeHistory(from.store, 300);
      // Slow enough to be still at it when the signal comes.
      to.double.faults.delay = 20;
      const first = spawnCli(args, { cwd });
      await eventually(() => to.double.log.all.length > 50, 60_000);
      first.kill(signal);
      const exit = await first.ended;
      expect(exit).toMatchObject(signal === 'SIGKILL' ? { signal } : { code: 130 });
      const there = (await everything(to.store, ['job', 'webhook-'])).length;
      expect(there).toBeLessThan(events);

      to.double.faults.delay = 0;
      const second = await run(args);
      expect(second).toMatchObject({ code: 0 });
      expect(JSON.parse(second.stdout)).toMatchObject({
        from: from.url.replace(/\/\/.*@/, '//'),
        copied: events - there,
        events,
        streams: 900,
      });
    } finally {
      await Promise.all([from.close(), to.close()]);
    }
  });

  test('brings a store back into an empty database', async () => {
    const from = await doubleEnd();
    await using empty = await createTestDatabase({ migrated: false });
    try {
      const events = await writeHistory(from.store, 20);
      const copied = await run(['events', 'copy', '--from', from.url, '--to', empty.url]);
      expect(copied).toMatchObject({ code: 0 });
      expect(copied.stdout).toContain(`Both hold the same ${events} events in 60 streams`);
    } finally {
      await from.close();
    }
  });
});
