import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { describeWithRedis } from '../support/redis-server.ts';

const MAIN = fileURLToPath(new URL('../chaos/main.ts', import.meta.url));

describeWithRedis('chaos', () => {
  it('keeps every promise through a short run of a fixed seed', async () => {
    // Twenty seconds: a worker killed, the disk full, Redis emptied.
    const args = ['--seed', '2417', '--minutes', '0.3334', '--deployment', 'distributed'];
    const run = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), MAIN, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    onTestFinished(() => void run.kill('SIGTERM'));
    let said = '';
    for (const stream of [run.stdout, run.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (said += text));
    const [code] = (await once(run, 'close')) as [number | null];
    console.log(said);
    expect(said).toContain('Every promise was kept.');
    expect(code).toBe(0);
    const figure = (name: string): number => Number(new RegExp(`^${name} +(\\d+)$`, 'm').exec(said)?.[1]);
    expect(figure('faults applied')).toBeGreaterThan(0);
    expect(figure('jobs acknowledged')).toBeGreaterThan(0);
  }, 600_000);
});
