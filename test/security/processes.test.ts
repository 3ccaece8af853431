import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { httpClient } from '../support/http-client.ts';
import { spawnService } from '../support/service-process.ts';
import { eventually } from '../support/waiting.ts';

let folder: string;
let database: TestDatabase;
const secret = (): string => randomBytes(24).toString('base64url');
const secrets = { JWT_ACCESS_SECRET: secret(), JWT_REFRESH_SECRET: secret(), WEBHOOK_SECRET: secret() };
const production = () => ({
  ...secrets,
  NODE_ENV: 'production',
  DATABASE_URL: database.url,
  DATA_DIR: path.join(folder, 'data'),
  PORT: '0',
  HANDLER_TIME_SCALE: '0',
});

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'asyncly-processes-'));
  database = await createTestDatabase();
});
afterAll(async () => {
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

describe.concurrent('a production service does not start', () => {
  test.each<readonly [string, Record<string, string>, string]>([
    ['without a secret', { WEBHOOK_SECRET: '' }, 'WEBHOOK_SECRET is not set: NODE_ENV=production needs it'],
    [
      'with a short secret',
      { JWT_REFRESH_SECRET: 'only-31-bytes-are-too-few-xxxxx' },
      'JWT_REFRESH_SECRET is too short',
    ],
    [
      'with one secret for two things',
      { JWT_REFRESH_SECRET: secrets.JWT_ACCESS_SECRET },
      'JWT_REFRESH_SECRET repeats',
    ],
  ])(
    '%s, and says which',
    async (_, wrong, message) => {
      const { code, output } = await spawnService({ ...production(), ...wrong }, folder).ended;
      expect(code).toBe(1);
      expect(output).toContain(`Asyncly cannot start: ${message}`);
      for (const value of Object.values({ ...secrets, ...wrong }))
        if (value !== '') expect(output).not.toContain(value);
    },
    90_000,
  );
});

test("no handler finds the service's secrets in its environment: not in its thread, not in the process that loads it", async () => {
  const source = `const atLoad = JSON.stringify(process.env);
    export default {
      type: 'peek',
      payload: {
        safeParse: (payload) => payload.ask
          ? { success: false, error: { issues: [{ path: ['env'], message: atLoad + JSON.stringify(process.env) }] } }
          : { success: true, data: payload },
      },
      run: async () => ({ atLoad, env: JSON.stringify(process.env) }),
    };`;
  await writeFile(path.join(folder, 'peek.mjs'), source);
  const url = new URL(database.url);
  const own = { SMTP_PASSWORD: 'for-the-handlers', PGAPPNAME: randomUUID() };
  const service = spawnService({ ...production(), ...own, HANDLERS_DIR: folder }, folder);
  const call = httpClient(`${(await service.up())!}/api`);
  const credentials = { email: 'someone@example.com', password: 'securepassword123' };
  const registered = await call('POST', '/auth/register', { body: credentials });
  const { apiKey: token } = registered.body.data as { apiKey: string };
  const submit = (payload: object) => call('POST', '/jobs', { token, body: { type: 'peek', payload } });

  const atCheck = (await submit({ ask: true })).body.errors!['payload.env']![0]!;
  const { id } = (await submit({})).body.data as { id: string };
  const job = await eventually(async () => {
    const { data } = (await call('GET', `/jobs/${id}`, { token })).body;
    return (data as { result: { atLoad: string; env: string } | null }).result;
  });
  await service.end('SIGTERM');
  for (const seen of [atCheck, job.atLoad, job.env]) {
    expect(seen).toContain('for-the-handlers');
    for (const value of [...Object.values(secrets), url.href]) expect(seen).not.toContain(value);
    expect(seen).not.toMatch(/JWT_ACCESS_SECRET|JWT_REFRESH_SECRET|WEBHOOK_SECRET|DATABASE_URL/);
  }
  // What the driver reads of the environment is there for the process, and hidden from handlers in their threads.
  expect(atCheck).toContain(own.PGAPPNAME);
  expect(job.env).not.toContain(own.PGAPPNAME);
}, 90_000);
