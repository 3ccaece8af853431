import { randomUUID } from 'node:crypto';
import type { NewEvent } from '../../src/events/event-store.ts';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import { createPostgresEventStore } from '../../src/infrastructure/postgres/event-store.ts';
import { migrate } from '../../src/infrastructure/postgres/migrate.ts';
import { createLogger } from '../../src/logger.ts';
import { submission } from '../lib/jobs.ts';
import { ratio } from '../lib/scenario.ts';
import type { Measured, Scenario } from '../lib/scenario.ts';
import { percentile } from '../lib/stats.ts';
import { openInsertingPool, openMicroBatcher } from '../peers/bare-appends.ts';
import type { BareLog } from '../peers/bare-appends.ts';

/** As large as the first event of a small job. */
function createdEvent(): NewEvent {
  const id = randomUUID();
  return {
    id,
    type: 'JobCreated',
    data: { jobId: randomUUID(), userId: randomUUID(), ...submission, webhookUrl: null, webhookEvents: [] },
    metadata: {
      schemaVersion: 1,
      correlationId: id,
      causationId: id,
      actor: { kind: 'user', id: randomUUID() },
      occurredAt: new Date().toISOString(),
    },
  };
}

/** The service's own event store, as something that is appended to. */
async function openStore(url: string): Promise<BareLog> {
  const logger = createLogger('warn', 'stderr');
  await migrate(url, { logger });
  const database = createDatabase({ url, max: 4, applicationName: 'bench', logger });
  const store = createPostgresEventStore({ url, database, logger });
  return {
    append: (stream, event) => store.append(stream, [event], { expected: 'no_stream' }),
    async close() {
      await store.close();
      await database.close();
    },
  };
}

const appending = (name: string, inFlight: number, open: (url: string) => Promise<BareLog>): Measured => ({
  name: `${name}, ${inFlight} in flight`,
  async measure(environment, { quick }) {
    const database = await environment.createDatabase();
    try {
      const log = await open(database.url);
      const latencies: number[] = [];
      const appendUntil = async (deadline: number, keep: boolean): Promise<void> => {
        while (performance.now() < deadline) {
          const began = performance.now();
          await log.append(`job-${randomUUID()}`, createdEvent());
          if (keep) latencies.push(performance.now() - began);
        }
      };
      const phase = async (seconds: number, keep: boolean): Promise<void> => {
        const deadline = performance.now() + seconds * 1_000;
        await Promise.all(Array.from({ length: inFlight }, () => appendUntil(deadline, keep)));
      };
      try {
        await phase(quick ? 0.5 : 2, false);
        const began = performance.now();
        await phase(quick ? 1 : 8, true);
        const seconds = (performance.now() - began) / 1_000;
        return {
          perSecond: latencies.length / seconds,
          p50: percentile(latencies, 50),
          p99: percentile(latencies, 99),
        };
      } finally {
        await log.close();
      }
    } finally {
      await database.drop();
    }
  },
});

export const appendScenario: Scenario = {
  name: 'append',
  title: 'Single events into streams of their own, the store alone (latencies in ms)',
  measured: [
    ...[1, 16, 50].map((inFlight) => appending('asyncly', inFlight, openStore)),
    appending('bare micro-batcher', 50, openMicroBatcher),
    appending('pool of 10', 50, openInsertingPool),
  ],
  targets: [
    {
      text: 'appends a second at 50 in flight',
      value: (of) => of('asyncly, 50 in flight', 'perSecond'),
      atLeast: 10_000,
    },
    { text: 'p99 at 50 in flight (ms)', value: (of) => of('asyncly, 50 in flight', 'p99'), atMost: 10 },
    ratio('asyncly, 50 in flight', 'bare micro-batcher, 50 in flight'),
    ratio('asyncly, 50 in flight', 'pool of 10, 50 in flight'),
  ],
};
