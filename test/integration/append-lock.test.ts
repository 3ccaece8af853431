import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import type { NewEvent } from '../../src/events/event-store.ts';
import { jobStream } from '../../src/events/job.ts';
import { encodeAppend, sendBatch } from '../../src/infrastructure/postgres/event-store-batch.ts';
import { events } from '../support/job-spec.ts';
import { createTestStore, stored } from '../support/store.ts';
import { eventually } from '../support/waiting.ts';

test('an event is not passed over when a later one is asked for while it is not committed yet', async () => {
  const testStore = await createTestStore();
  const { url, store, database } = testStore;
  onTestFinished(() => testStore.drop());
  const other = new pg.Client({ connectionString: url });
  await other.connect();
  onTestFinished(() => other.end());
  const created = (): [string, NewEvent] => {
    const jobId = randomUUID();
    return [jobStream(jobId), stored(events.created({ jobId }))];
  };
  const seen: string[] = [];
  const stopping = new AbortController();
  // Before anything is written, however long it takes to begin.
  const after = await store.head();
  const following = (async () => {
    for await (const message of store.subscribe({ after, prefixes: ['job-'], signal: stopping.signal }))
      if (message.kind === 'events') seen.push(...message.events.map(({ id }) => id));
  })();
  onTestFinished(async () => {
    stopping.abort();
    await following;
  });

  const [firstStream, first] = created();
  const [secondStream, second] = created();
  const [thirdStream, third] = created();
  // The first has its position, and another process is in the middle of its transaction.
  await other.query('BEGIN');
  await sendBatch(other, [encodeAppend(firstStream, [first], 'no_stream')]);
  const appended = store.append(secondStream, [second], { expected: 'no_stream' });
  await eventually(async () => {
    const { rowCount } = await database.query(
      `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    return rowCount > 0 || seen.includes(second.id);
  });
  await other.query('COMMIT');
  await appended;
  await store.append(thirdStream, [third], { expected: 'no_stream' });
  await eventually(() => seen.includes(third.id));
  expect(seen).toEqual([first.id, second.id, third.id]);
});
