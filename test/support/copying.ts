import { randomUUID } from 'node:crypto';
import type { EventStore, NewEvent } from '../../src/events/event-store.ts';
import { jobLogStream, jobStream } from '../../src/events/job.ts';
import { isOwnStream } from '../../src/events/streams.ts';
import { webhookId, webhookStream } from '../../src/events/webhook.ts';
import { createEventStoreDbEventStore } from '../../src/infrastructure/eventstoredb/event-store.ts';
import { createPostgresEventStore } from '../../src/infrastructure/postgres/event-store.ts';
import type { CopyTarget } from '../../src/transfer/copy-events.ts';
import { createTestDatabase, silentLogger } from './database.ts';
import { startEventStoreDouble } from './eventstoredb/server.ts';
import type { EventStoreDouble } from './eventstoredb/server.ts';

export interface CopyEnd extends CopyTarget {
  readonly url: string;
  readonly close: () => Promise<void>;
}

export async function postgresEnd(): Promise<CopyEnd> {
  const test = await createTestDatabase();
  const { url, database } = test;
  const store = createPostgresEventStore({ url, database, logger: silentLogger });
  return {
    name: 'Postgres',
    url,
    store,
    shared: false,
    appendsTogether: true,
    close: () => store.close().finally(() => test.drop()),
  };
}

export async function doubleEnd(): Promise<CopyEnd & { readonly double: EventStoreDouble }> {
  const double = await startEventStoreDouble();
  const store = createEventStoreDbEventStore({ url: double.url, logger: silentLogger, owns: isOwnStream });
  return {
    name: 'EventStoreDB',
    url: double.url,
    store,
    shared: true,
    appendsTogether: false,
    double,
    close: () => store.close().finally(() => double.stop()),
  };
}

export function copiedEvent(data: Record<string, unknown> = {}): NewEvent {
  const id = randomUUID();
  return {
    id,
    type: 'Tested',
    data,
    metadata: {
      schemaVersion: 1,
      correlationId: id,
      causationId: id,
      actor: { kind: 'system', id: 'test' },
      occurredAt: '2026-01-01T00:00:00.000Z',
    },
  };
}

/** Writes a history whose streams are interleaved: `jobs` times a job of four events, a log of two, and a webhook. */
export async function writeHistory(store: EventStore, jobs: number): Promise<number> {
  const webhook = (jobId: string): string => webhookStream(webhookId(jobId, 1));
  const awkward = { text: '\u0000 \ud800 "é"', number: 1.5e300, z: 1, a: { '2': 2, '1': [null, true] } };
  let events = 0;
  for (let begun = 0; begun < jobs; begun += 100) {
    const ids = Array.from({ length: Math.min(100, jobs - begun) }, () => randomUUID());
    const step = async (
      streamOf: (jobId: string) => string,
      before: number,
      count: number,
    ): Promise<void> => {
      const appends = ids.map((id) => {
        const appended = Array.from({ length: count }, (_, n) => copiedEvent({ n, ...awkward }));
        events += count;
        return store.append(streamOf(id), appended, { expected: before < 0 ? 'no_stream' : before });
      });
      await Promise.all(appends);
    };
    await step(jobStream, -1, 1);
    await step(jobStream, 0, 2);
    await step(jobLogStream, -1, 2);
    await step(jobStream, 2, 1);
    await step(webhook, -1, 1);
  }
  return events;
}
