import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { runCli } from '../support/cli-process.ts';
import { createTestDatabase } from '../support/database.ts';
import { startEventStoreDouble } from '../support/eventstoredb/server.ts';
import { httpClient } from '../support/http-client.ts';
import { spawnService } from '../support/service-process.ts';
import type { ServiceProcess } from '../support/service-process.ts';
import type { ServiceSettings } from '../support/service.ts';
import { eventually } from '../support/waiting.ts';

/** Several processes and two servers start one after the other. */
const TEST_TIMEOUT_MS = 240_000;
const credentials = { email: 'mover@example.com', password: 'securepassword123' };

async function login(url: string) {
  const api = httpClient(`${url}/api`);
  const { status, body } = await api('POST', '/auth/login', { body: credentials });
  expect(status).toBe(200);
  const { accessToken: token } = body.data as { accessToken: string };
  const get = async (at: string) => (await api('GET', at, { token })).body.data;
  const run = async (type: string): Promise<string> => {
    const submitted = await api('POST', '/jobs', { token, body: { type, payload: { n: 1 } } });
    const { id } = submitted.body.data as { id: string };
    await eventually(async () => {
      expect(await get(`/jobs/${id}`)).toMatchObject({ status: 'DONE' });
      expect(await get(`/jobs/${id}/logs`)).toHaveLength(4);
      return true;
    }, 60_000);
    return id;
  };
  /** Everything of a job that its owner can read. */
  const whole = async (id: string) => ({
    job: await get(`/jobs/${id}`),
    logs: await get(`/jobs/${id}/logs`),
  });
  return { api, run, whole, get };
}

test(
  'from the embedded deployment to EventStoreDB and a Postgres of its own, as the guide says',
  async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'asyncly-moving-'));
    const dataDir = path.join(folder, 'data');
    const target = await createTestDatabase({ migrated: false });
    const events = await startEventStoreDouble();
    const processes: ServiceProcess[] = [];
    onTestFinished(async () => {
      for (const one of processes) await one.end('SIGTERM');
      await Promise.all([target.drop(), events.stop()]);
      await rm(folder, { recursive: true, force: true });
    });
    const start = async (settings: ServiceSettings) => {
      const one = spawnService(
        { PORT: '0', DATA_DIR: dataDir, HANDLER_TIME_SCALE: '0.02', ...settings },
        folder,
      );
      processes.push(one);
      return { one, url: (await one.up(90_000)) ?? '' };
    };
    const asyncly = async (args: readonly string[], env: Record<string, string> = {}) => {
      const exit = await runCli(args, { cwd: folder, env: { DATA_DIR: dataDir, ...env } });
      expect(exit, exit.stderr).toMatchObject({ code: 0 });
      return exit;
    };

    const before = await start({});
    const registered = await httpClient(`${before.url}/api`)('POST', '/auth/register', { body: credentials });
    const { apiKey } = registered.body.data as { apiKey: string };
    const there = await login(before.url);
    const ids = [await there.run('send-email'), await there.run('generate-report')];
    const seen = await Promise.all(ids.map((id) => there.whole(id)));
    // Beside the running service, then once more for what has come since.
    const copy = ['events', 'copy', '--json', '--from', 'embedded', '--to', events.url];
    const first = JSON.parse((await asyncly(copy)).stdout) as { copied: number };
    const late = await there.run('resize-image');
    const seenLate = await there.whole(late);
    await before.one.end('SIGTERM');

    const DATABASE_URL = target.url;
    await asyncly(['migrate'], { DATABASE_URL });
    const second = JSON.parse((await asyncly(copy)).stdout) as { copied: number; events: number };
    expect(second.copied).toBeGreaterThan(0);
    expect(second.events).toBe(first.copied + second.copied);
    await asyncly(['accounts', 'copy', '--from', 'embedded', '--to', DATABASE_URL]);
    await asyncly(['projections', 'reset'], { DATABASE_URL });

    const after = await start({ DATABASE_URL, EVENTSTORE_URL: events.url });
    const here = await login(after.url);
    await eventually(async () => {
      expect(await Promise.all([...ids, late].map((id) => here.whole(id)))).toEqual([...seen, seenLate]);
      expect(await here.get('/jobs?status=DONE')).toHaveLength(3);
      return true;
    }, 60_000);
    expect((await here.api('GET', '/jobs', { token: apiKey })).status).toBe(200);
    const next = await here.run('send-email');
    expect(await here.get('/jobs?status=DONE')).toEqual(
      expect.arrayContaining([expect.objectContaining({ id: next })]),
    );
    // Nothing that had ended began anew.
    const started = events.log.all.filter(({ type }) => type === 'JobStarted');
    expect(started).toHaveLength(4);
  },
  TEST_TIMEOUT_MS,
);
