import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { describeWithRedis } from '../support/redis-server.ts';

const MAIN = fileURLToPath(new URL('../chaos/main.ts', import.meta.url));

describeWithRedis('chaos', () => {
  it.each([
    // Twenty seconds: a worker killed, the disk full, Redis emptied.
    { deployment: 'distributed', seed: '18514', minutes: '0.3334' },
    // Twelve: Postgres killed, then the second process.
    { deployment: 'embedded', seed: '135', minutes: '0.2' },
  ])(
    'keeps every promise through a short run of a fixed seed, $deployment',
    async (run) => {
      const args = [
        '--seed',
        run.seed,
        '--minutes',
        run.minutes,
        '--deployment',
        run.deployment,
        '--compiled',
      ];
      const chaos = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), MAIN, ...args], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      onTestFinished(() => void chaos.kill('SIGTERM'));
      let said = '';
      for (const stream of [chaos.stdout, chaos.stderr])
        stream.setEncoding('utf8').on('data', (text: string) => (said += text));
      const [code] = (await once(chaos, 'close')) as [number | null];
      console.log(said);
      expect(said).toContain('Every promise was kept.');
      expect(code).toBe(0);
      const figure = (name: string): number => Number(new RegExp(`^${name} +(\\d+)$`, 'm').exec(said)?.[1]);
      expect(figure('faults applied')).toBeGreaterThan(0);
      expect(figure('jobs acknowledged')).toBeGreaterThan(0);
    },
    600_000,
  );
});
