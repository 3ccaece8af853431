import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { createEventStoreDbEventStore } from '../../src/infrastructure/eventstoredb/event-store.ts';
import { silentLogger } from '../support/database.ts';
import { spawnEventStoreDouble } from '../support/eventstoredb/process.ts';
import { events } from '../support/job-spec.ts';
import { everything, stored } from '../support/store.ts';
import { eventually } from '../support/waiting.ts';

it('keeps the log of the double through a kill, all but a line that was being written', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'asyncly-journal-'));
  const file = path.join(folder, 'events.ndjson');
  let double = await spawnEventStoreDouble({ file });
  const { url, port } = double;
  const store = createEventStoreDbEventStore({ url, logger: silentLogger });
  onTestFinished(async () => {
    await store.close();
    await double.kill();
    await rm(folder, { recursive: true, force: true });
  });
  const [created, started] = [
    stored(events.created({ payload: { name: 'Zoë' } })),
    stored(events.started(1)),
  ];
  await store.append('job-1', [created], { expected: 'no_stream' });
  await store.append('job-1', [started], { expected: 0 });
  const before = await everything(store);
  expect(before).toHaveLength(2);

  await double.kill();
  await appendFile(file, '{"stream":"job-1","revision":2,"id"');
  double = await spawnEventStoreDouble({ file, port });
  expect(await eventually(() => everything(store))).toEqual(before);
  // Recognised, although it comes a second time; what comes next gets the next place.
  await store.append('job-1', [started], { expected: 0 });
  await store.append('job-1', [stored(events.completed(1))], { expected: 1 });
  await double.kill();
  double = await spawnEventStoreDouble({ file, port });
  const after = await eventually(() => everything(store));
  expect(after.slice(0, 2)).toEqual(before);
  expect(after.map(({ type }) => type)).toEqual(['JobCreated', 'JobStarted', 'JobCompleted']);
});
