import type { Database } from '../../src/database.ts';
import type { EventStore } from '../../src/events/event-store.ts';
import { testSecrets } from '../support/service.ts';
import { checkAnswers } from './checks/answers.ts';
import { checkCommands } from './checks/commands.ts';
import { checkFloors } from './checks/floors.ts';
import { readStreams } from './checks/stored.ts';
import type { Streams } from './checks/stored.ts';
import { checkStreams } from './checks/streams.ts';
import { checkSubmissions } from './checks/submissions.ts';
import { countRows, verifyByCommand } from './checks/verify.ts';
import { checkWebhooks, expectedWebhooks } from './checks/webhooks.ts';
import { Client } from './client.ts';
import type { User } from './client.ts';
import type { History } from './history.ts';
import type { FlakyReceiver } from './receiver.ts';
import type { Report } from './report.ts';
import { apisOf, POLICY } from './stage.ts';
import type { Stage } from './stage.ts';

interface Evidence {
  readonly stage: Stage;
  readonly history: History;
  readonly users: readonly User[];
  readonly receiver: FlakyReceiver;
  readonly store: EventStore;
  readonly database: Database;
}

/** Jobs that every api is asked about. */
const ASKED = 300;

/** Compares what the users were told with what is there. */
export async function judge(evidence: Evidence): Promise<Pick<Report, 'figures' | 'violations'>> {
  const { stage, history, users, receiver, store, database } = evidence;
  const streams = await readStreams(store);
  const expected = expectedWebhooks(streams);
  const asked = history.acknowledged.filter(({ n }, _, { length }) => n % Math.ceil(length / ASKED) === 0);
  const { deliveries } = receiver;
  const verified = await verifyByCommand(stage, {
    events: [...streams.values()].flat().length,
    rows: await countRows(database),
  });
  const violations = [
    ...checkFloors({ submissions: history.submissions, streams, deliveries }),
    ...checkSubmissions(history.submissions, streams),
    ...checkCommands(history.commands, streams),
    ...checkStreams(streams, POLICY),
    ...checkWebhooks({
      expected,
      deliveries,
      secrets: await secretsOf(database),
      serviceSecret: testSecrets.WEBHOOK_SECRET,
    }),
    ...(await checkAnswers(asked, streams, { client: new Client(history), apis: apisOf(stage), users })),
    ...verified.rows.violations,
    ...verified.events.violations,
    ...history.oddities.map(({ what, jobId }) => ({
      promise: 'an answer tells the truth',
      particulars: `${what} (job ${jobId ?? 'unknown'})`,
    })),
  ];
  const outcomes = history.outcomes();
  const types = [...streams.values()].flat().map(({ event }) => event.type);
  const count = (...wanted: string[]): number => types.filter((type) => wanted.includes(type)).length;
  return {
    violations,
    figures: [
      ['jobs asked for', history.submissions.length],
      ['jobs acknowledged', history.acknowledged.length],
      ['requests ok / failed / unknown', `${outcomes.ok} / ${outcomes.failed} / ${outcomes.unknown}`],
      ['events', types.length],
      ['jobs in the store', count('JobCreated')],
      [
        'ends: done / failed / cancelled',
        ['JobCompleted', 'JobFailed', 'JobCancelled'].map((type) => count(type)).join(' / '),
      ],
      ['executions taken over from a dead worker', takeovers(streams)],
      ['executions handed back', count('JobReleased')],
      ['webhooks', expected.length],
      ['requests that receivers got', deliveries.length],
      ['webhooks given up on, and asked for again', count('WebhookRedeliveryRequested')],
      ['events whose seals were verified', verified.events.compared],
      ['rows of read models that were compared', verified.rows.compared],
    ],
  };
}

/** Asks for every webhook again that was given up on. */
export async function redeliverAbandoned({
  stage,
  history,
  users,
  store,
}: Omit<Evidence, 'receiver' | 'database'>): Promise<void> {
  const streams = await readStreams(store);
  const client = new Client(history);
  const [api] = apisOf(stage);
  const tokens = new Map(users.map(({ id, token }) => [id, token]));
  for (const events of streams.values()) {
    const last = events.at(-1)?.event;
    if (last?.type !== 'WebhookAbandoned') continue;
    const { jobId, round } = last.data;
    const created = streams.get(`job-${jobId}`)?.[0]?.event;
    const token = created?.type === 'JobCreated' ? (tokens.get(created.data.userId) ?? '') : '';
    const { outcome } = await client.send(
      'redeliver',
      api ?? '',
      ['POST', `/api/jobs/${jobId}/webhook/redeliver`],
      { token, body: { round } },
    );
    history.commands.push({ kind: 'redeliver', jobId, round, outcome, requested: false });
  }
}

function takeovers(streams: Streams): number {
  return [...streams.values()]
    .flat()
    .filter(({ event }) => event.type === 'JobStarted' && event.data.supersedes !== null).length;
}

async function secretsOf(database: Database): Promise<Map<string, Buffer[]>> {
  const { rows } = await database.query<{ user_id: string; secret: Buffer }>(
    'SELECT user_id, secret FROM webhook_secrets',
  );
  return new Map(rows.map(({ user_id, secret }) => [user_id, [secret]]));
}
