import { expect, onTestFinished, test } from 'vitest';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import { createAccounts } from '../support/accounts.ts';
import { silentLogger } from '../support/database.ts';
import { ownDeployments } from '../support/deployments.ts';
import type { OwnService } from '../support/deployments.ts';
import { httpClient } from '../support/http-client.ts';
import type { RedisServer } from '../support/redis-server.ts';
import { describeWithRedis } from '../support/redis-server.ts';
import { eventually } from '../support/waiting.ts';
import { startWebhookReceiver } from '../support/webhook-receiver.ts';

/** The reconciler looks every 10 s; a busy machine takes a while to do what it puts back. */
const PATIENCE_MS = 60_000;

interface StoredEvent {
  readonly stream: string;
  readonly type: string;
  readonly data: { readonly runAt?: string | null; readonly retryAt?: string; readonly attempt?: number };
  readonly at: number;
}

/** Events in Postgres, all that passes in a Redis that the test can make fail, one user. */
async function setUp(settings: Readonly<Record<string, string>>) {
  const deployment = ownDeployments.find(({ name }) => name === 'Redis without EventStoreDB')!;
  const service: OwnService = await deployment.start({
    RATE_LIMIT_JOBS_PER_MINUTE: '100000',
    ...settings,
  });
  onTestFinished(() => service.stop());
  const accounts = createAccounts(service.databaseUrl);
  const database = createDatabase({
    url: service.databaseUrl,
    max: 2,
    applicationName: 'test',
    logger: silentLogger,
  });
  onTestFinished(async () => {
    await Promise.all([accounts.close(), database.close()]);
  });
  const { apiKey: token } = await accounts.newAccount();
  const call = httpClient(`${service.base}/api`);
  return {
    redis: service.redis!,
    get: (id: string) => call('GET', `/jobs/${id}`, { token }),
    /** @returns ids of jobs that were accepted */
    submit: (count: number, body: object): Promise<string[]> =>
      Promise.all(
        Array.from({ length: count }, async () => {
          const answer = await call('POST', '/jobs', { token, body });
          expect(answer.status).toBe(201);
          return (answer.body.data as { id: string }).id;
        }),
      ),
    async events(): Promise<StoredEvent[]> {
      const { rows } = await database.query<Omit<StoredEvent, 'at'> & { occurred: string }>(
        `SELECT stream, type, data, metadata->>'occurredAt' AS occurred FROM eventstore.events ORDER BY position`,
      );
      return rows.map(({ occurred, ...event }) => ({ ...event, at: Date.parse(occurred) }));
    },
    /** Until so many jobs have ended and nothing is left to be done. */
    untilDone: (count: number) =>
      eventually(async () => {
        const { rows } = await database.query<{ ended: number; open: number }>(
          `SELECT (SELECT count(*)::int FROM jobs WHERE status IN ('DONE', 'FAILED', 'CANCELLED')) AS ended,
                  (SELECT count(*)::int FROM open_work) AS open`,
        );
        if (rows[0]?.ended === count && rows[0].open === 0) return true;
        throw new Error(`Not done: ${JSON.stringify(rows[0])}`);
      }, PATIENCE_MS),
    open: async (kind: string): Promise<number> => {
      const { rows } = await database.query<{ open: number }>(
        'SELECT count(*)::int AS open FROM open_work WHERE kind = $1',
        [kind],
      );
      return rows[0]!.open;
    },
  };
}

const queueKeys = async (redis: RedisServer): Promise<number> =>
  ((await redis.call('KEYS', 'asyncly:work:*')) as string[]).length;

const ends = ['JobCompleted', 'JobFailed', 'JobCancelled'];

/** Every round has one end, and nothing was started before its time. */
function expectSound(events: readonly StoredEvent[], jobs: readonly string[]): void {
  for (const id of jobs) {
    const own = events.filter(({ stream }) => stream === `job-${id}`);
    expect(own.filter(({ type }) => ends.includes(type))).toHaveLength(1);
    let due = Number.NEGATIVE_INFINITY;
    for (const { type, data, at } of own) {
      if (type === 'JobStarted') expect(at).toBeGreaterThanOrEqual(due);
      due = Date.parse(data.retryAt ?? data.runAt ?? '') || due;
    }
  }
}

describeWithRedis('a Redis that loses everything', () => {
  test(
    'costs no job and no webhook, and nothing runs before its time',
    { timeout: 2 * PATIENCE_MS },
    async () => {
      const seen = new Set<string>();
      // Each webhook is refused once, so that its second attempt is due later.
      const receiver = await startWebhookReceiver((n) => {
        const { body } = receiver.deliveries[n - 1]!;
        const { jobId } = JSON.parse(body) as { jobId: string };
        if (seen.has(jobId)) return { status: 200 };
        seen.add(jobId);
        return { status: 500 };
      });
      onTestFinished(() => receiver.close());
      const subject = await setUp({
        WORKER_CONCURRENCY: '2',
        JOB_BACKOFF_MS: '3000',
        WEBHOOK_BACKOFF_MS: '3000',
      });
      const { redis, submit } = subject;
      const told = await submit(10, { type: 'told', payload: {}, webhookUrl: receiver.url });
      const failing = await submit(3, { type: 'fail', payload: {}, maxAttempts: 2 });
      // What waits now waits for its second attempt.
      await eventually(() => seen.size === told.length, PATIENCE_MS);
      const delayed = await submit(50, { type: 'later', payload: {}, delayMs: 5_000 });
      const pending = await submit(200, { type: 'now', payload: {} });
      await eventually(async () => (await subject.open('job')) > 50);
      expect(await queueKeys(redis)).toBeGreaterThan(0);
      await redis.call('FLUSHALL');

      const jobs = [...told, ...failing, ...delayed, ...pending];
      await subject.untilDone(jobs.length);
      const events = await subject.events();
      expectSound(events, jobs);
      for (const id of told) {
        const attempts = events.filter(({ stream }) => stream === `webhook-${id}-1`);
        expect(attempts.map(({ type, data }) => [type, data.attempt])).toEqual([
          ['WebhookAttempted', 1],
          ['WebhookAttempted', 2],
        ]);
      }
      expect(new Set(receiver.deliveries.map(({ headers }) => headers['webhook-id'])).size).toBe(told.length);
    },
  );

  test(
    'and that is away keeps nobody from submitting and reading; all runs when it is back, empty',
    { timeout: 2 * PATIENCE_MS },
    async () => {
      const subject = await setUp({ WORKER_CONCURRENCY: '2' });
      const { redis, submit, get, untilDone, open } = subject;
      const before = await submit(100, { type: 'before', payload: {} });
      await redis.kill();
      const during = await submit(20, { type: 'during', payload: {} });
      expect(await get(during[0]!)).toMatchObject({ status: 200, body: { data: { status: 'PENDING' } } });
      await eventually(async () => (await open('job')) >= during.length);
      await redis.start();
      const after = await submit(20, { type: 'after', payload: {} });
      const jobs = [...before, ...during, ...after];
      await untilDone(jobs.length);
      expectSound(await subject.events(), jobs);
    },
  );
});
