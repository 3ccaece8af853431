import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../../src/config.ts';
import { testSecrets } from '../../support/service.ts';

const rootFile = (name: string): Promise<string> =>
  readFile(new URL(`../../../${name}`, import.meta.url), 'utf8');

describe('Available Scripts', () => {
  test.each(['dev', 'worker', 'build', 'type-check', 'lint'])('npm run %s', async (name) => {
    const { scripts } = JSON.parse(await rootFile('package.json')) as { scripts: Record<string, string> };
    expect(scripts[name]).toBeTypeOf('string');
  });
});

describe('Environment Variables', () => {
  test.each([
    'NODE_ENV',
    'PORT',
    'APP_NAME',
    'DATABASE_URL',
    'REDIS_HOST',
    'REDIS_PORT',
    'REDIS_URL',
    'JWT_ACCESS_SECRET',
    'JWT_REFRESH_SECRET',
    'JWT_ACCESS_EXPIRES_IN',
    'JWT_REFRESH_EXPIRES_IN',
    'WEBHOOK_SECRET',
  ])('.env.example has %s', async (name) => {
    expect(await rootFile('.env.example')).toMatch(new RegExp(`^#?${name}=`, 'm'));
  });

  test('defaults: port 3000, tokens of 15 minutes and 7 days, 10 jobs a minute, webhooks 2 seconds apart', () => {
    expect(loadConfig(testSecrets, 'no file')).toMatchObject({
      PORT: 3000,
      JWT_ACCESS_EXPIRES_IN: '15m',
      JWT_REFRESH_EXPIRES_IN: '7d',
      JOB_MAX_ATTEMPTS: 3,
      RATE_LIMIT_JOBS_PER_MINUTE: 10,
      WEBHOOK_BACKOFF_MS: 2_000,
      HANDLER_TIME_SCALE: 1,
    });
  });

  test.each(['development', 'production', 'test'])('NODE_ENV is %s', (NODE_ENV) => {
    expect(loadConfig({ ...testSecrets, NODE_ENV }, 'no file')).toMatchObject({ NODE_ENV });
  });
});
