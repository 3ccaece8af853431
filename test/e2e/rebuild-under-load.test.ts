import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { expect, onTestFinished, test } from 'vitest';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import { runCli } from '../support/cli-process.ts';
import { silentLogger } from '../support/database.ts';
import { startEventStoreDouble } from '../support/eventstoredb/server.ts';
import { httpClient } from '../support/http-client.ts';
import type { Answer } from '../support/http-client.ts';
import { stores } from '../support/maintaining.ts';
import { startService } from '../support/service.ts';
import { eventually } from '../support/waiting.ts';
import { startWebhookReceiver } from '../support/webhook-receiver.ts';

interface JobData {
  readonly id: string;
  readonly status: string;
  readonly revision: number;
}

/** A running service whose users submit and read jobs all the time. */
async function startBusyService(kind: (typeof stores)[number]) {
  const double = kind === 'EventStoreDB' ? await startEventStoreDouble() : null;
  const receiver = await startWebhookReceiver();
  const eventStore = double === null ? {} : { EVENTSTORE_URL: double.url };
  const service = await startService({ RATE_LIMIT_JOBS_PER_MINUTE: '1000000', ...eventStore });
  const { databaseUrl } = service;
  const database = createDatabase({
    url: databaseUrl,
    max: 2,
    applicationName: 'test',
    logger: silentLogger,
  });
  onTestFinished(async () => {
    await database.close();
    await service.stop();
    await receiver.close();
    await double?.stop();
  });
  const call = httpClient(`${service.base}/api`);
  const account = { email: `${randomUUID()}@example.com`, password: 'securepassword123' };
  const registered = await call('POST', '/auth/register', { body: account });
  const { apiKey: token } = registered.body.data as { apiKey: string };

  const known: JobData[] = [];
  const wrong: string[] = [];
  let requests = 0;
  const request = async (method: string, path: string, body?: object): Promise<Answer> => {
    const answer = await call(method, path, { token, ...(body && { body }) });
    requests++;
    if (answer.status >= 300)
      wrong.push(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer;
  };
  const submit = async (): Promise<void> => {
    const body = { type: 'send-email', payload: { to: 'a@example.com' }, webhookUrl: receiver.url };
    known.push((await request('POST', '/jobs', body)).body.data as JobData);
  };
  const read = async (n: number): Promise<void> => {
    const index = (n * 7_919) % Math.max(1, known.length);
    const job = known[index];
    if (job === undefined) return;
    const found = (await request('GET', `/jobs/${job.id}`)).body.data as JobData | undefined;
    if (found?.id !== job.id) wrong.push(`${job.id} was not found`);
    else if (found.revision < job.revision) wrong.push(`${job.id} went back to ${found.revision}`);
    else known[index] = found;
    await request('GET', `/jobs/${job.id}/logs`);
    const list = (await request('GET', '/jobs?limit=50')).body.data as JobData[] | undefined;
    if (list?.length === 0) wrong.push('A list was empty');
  };
  await submit();
  const stopping = new AbortController();
  const repeat = async (work: (n: number) => Promise<void>): Promise<void> => {
    for (let n = 0; !stopping.signal.aborted; n++) await work(n);
  };
  const running = [repeat(submit), repeat(read), repeat(read)];
  return {
    env: { DATABASE_URL: databaseUrl, ...eventStore },
    database,
    known,
    wrong,
    receiver,
    requests: () => requests,
    call: request,
    calmDown: async () => {
      stopping.abort();
      await Promise.all(running);
    },
  };
}

test.each(stores)(
  'over %s read models are rebuilt and rolled back while the service works, and nobody notices',
  async (kind) => {
    const service = await startBusyService(kind);
    const { env, database, known, wrong, receiver } = service;
    const asyncly = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await runCli(['projections', ...args], { cwd: tmpdir(), env });
      expect(code, `${stdout}${stderr}`).toBe(0);
      return stdout;
    };
    await eventually(() => known.length > 30, 60_000);
    for (const command of ['rebuild', 'rebuild', 'rollback', 'rollback']) {
      const before = service.requests();
      await asyncly(command, 'all', ...(command === 'rebuild' ? ['--batch-size', '50'] : []));
      expect(service.requests()).toBeGreaterThan(before);
    }
    await service.calmDown();
    expect(wrong).toEqual([]);

    // Every job ran once and every webhook was delivered once: nothing that was replayed had an effect.
    await eventually(async () => {
      for (const { id } of known) {
        const { body } = await service.call('GET', `/jobs/${id}`);
        if ((body.data as JobData).status !== 'DONE') return false;
      }
      return receiver.deliveries.length >= known.length;
    }, 90_000);
    for (const { id } of known) {
      const logs = (await service.call('GET', `/jobs/${id}/logs`)).body.data as { message: string }[];
      expect(logs.filter(({ message }) => message.startsWith('Job started'))).toHaveLength(1);
    }
    const delivered = receiver.deliveries.map(({ headers }) => headers['webhook-id']);
    expect(new Set(delivered).size).toBe(known.length);
    expect(delivered).toHaveLength(known.length);
    await eventually(async () => (await database.query('SELECT FROM open_work')).rowCount === 0);
    expect(await asyncly('verify', 'all')).toMatch(
      /^jobs: \d+ rows at position \d+, all as the events say\.$/m,
    );
    expect(wrong).toEqual([]);
  },
  300_000,
);
