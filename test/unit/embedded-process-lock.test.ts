import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { lockAddress, lockFreed, tryLock } from '../../src/infrastructure/embedded/process-lock.ts';

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'asyncly-lock-'));
});
afterEach(() => rm(home, { recursive: true, force: true }));

/** A process of its own that holds the lock until it is killed. */
async function holder(address: string): Promise<{ pid: number; kill: () => Promise<void> }> {
  const module = new URL('../../src/infrastructure/embedded/process-lock.ts', import.meta.url).href;
  const script = `
    const { tryLock } = await import(${JSON.stringify(module)});
    const { lock } = await tryLock(${JSON.stringify(address)});
    setInterval(() => undefined, 60_000);
    console.log(lock === undefined ? 'refused' : 'held');`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [text] = (await once(child.stdout, 'data')) as [Buffer];
  expect(text.toString().trim()).toBe('held');
  return {
    pid: child.pid!,
    kill: async () => {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

describe.each([
  ['of this platform', process.platform],
  ['in a file', 'darwin'],
])('a process lock %s', (_, platform) => {
  it('has one holder at a time, which names itself', async () => {
    const address = lockAddress(home, 'one', platform);
    const first = await tryLock(address);
    expect(await tryLock(address)).toEqual({ heldBy: process.pid });
    await first.lock!.release();
    await first.lock!.release();
    const second = await tryLock(address);
    expect(second.lock).toBeDefined();
    await second.lock!.release();
  });

  it('is one of many in the same folder', async () => {
    const locks = await Promise.all(['one', 'two'].map((name) => tryLock(lockAddress(home, name, platform))));
    expect(locks.every(({ lock }) => lock !== undefined)).toBe(true);
    await Promise.all(locks.map(({ lock }) => lock!.release()));
  });

  it('goes to one of many that want it at once', async () => {
    const address = lockAddress(home, 'wanted', platform);
    const attempts = await Promise.all(Array.from({ length: 10 }, () => tryLock(address)));
    expect(attempts.filter(({ lock }) => lock !== undefined)).toHaveLength(1);
    for (const { lock } of attempts) await lock?.release();
  });

  it('is free as soon as its holder is killed, and whoever waits for that hears of it', async () => {
    const address = lockAddress(home, 'killed', platform);
    const { pid, kill } = await holder(address);
    expect(await tryLock(address)).toEqual({ heldBy: pid });
    const freed = lockFreed(address, new AbortController().signal);
    await kill();
    await freed;
    const { lock } = await tryLock(address);
    expect(lock).toBeDefined();
    await lock!.release();
  });
});

it('a lock file whose path is too long for a socket stands in the folder for temporary files', () => {
  expect(lockAddress(`/${'x'.repeat(200)}`, 'owner', 'darwin').startsWith(tmpdir())).toBe(true);
});
