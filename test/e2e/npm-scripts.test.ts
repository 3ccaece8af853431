import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { createTestDatabase } from '../support/database.ts';
import { testSecrets } from '../support/service.ts';
import { eventually } from '../support/waiting.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

test('SIGTERM to npm reaches the service, which stops as it should', async () => {
  const testDatabase = await createTestDatabase();
  const { url, database } = testDatabase;
  const dataDir = await mkdtemp(path.join(tmpdir(), 'asyncly-npm-'));
  const env = { ...process.env, ...testSecrets, DATABASE_URL: url, DATA_DIR: dataDir };
  // A group of its own, so that nothing of it outlives the test.
  const npm = spawn('npm', ['run', '--silent', 'worker'], {
    cwd: root,
    env,
    stdio: 'ignore',
    detached: true,
  });
  const exited = once(npm, 'exit');
  onTestFinished(async () => {
    try {
      process.kill(-(npm.pid ?? 0), 'SIGKILL');
    } catch {
      // All of it has ended already.
    }
    await testDatabase.drop();
    await rm(dataDir, { recursive: true, force: true });
  });
  const workers = async () => (await database.query('SELECT FROM workers')).rowCount;
  await eventually(async () => expect(await workers()).toBe(1), 20_000);

  npm.kill('SIGTERM');
  await exited;
  // A worker that ends in order takes its heartbeat with it.
  await eventually(async () => expect(await workers()).toBe(0), 20_000);
}, 60_000);
