import { expect, test } from 'vitest';
import { createMemoryJobCache } from '../../../src/infrastructure/memory/job-cache.ts';
import { newJobState } from '../../support/jobs.ts';
import { describeJobCache } from './describe-job-cache.ts';

describeJobCache('memory', () =>
  Promise.resolve({ cache: createMemoryJobCache(), dispose: () => Promise.resolve() }),
);

const TTL_MS = 60_000;
const job = (id: string, text = '') => newJobState({ id, payload: { text } });

test('it holds so many entries, and lets go of what was used longest ago', async () => {
  const cache = createMemoryJobCache({ maxEntries: 2 });
  await cache.put(job('a'), TTL_MS);
  await cache.put(job('b'), TTL_MS);
  await cache.get('a');
  await cache.put(job('c'), TTL_MS);
  expect(await cache.get('b')).toBeNull();
  expect(await cache.get('a')).not.toBeNull();
  expect(await cache.get('c')).not.toBeNull();
});

test('it holds so many bytes, in payloads as in results', async () => {
  const cache = createMemoryJobCache({ maxBytes: 10_000 });
  await cache.put(job('a', 'ä'.repeat(2_000)), TTL_MS);
  await cache.put({ ...job('b'), result: 'x'.repeat(4_000) }, TTL_MS);
  expect(await cache.get('a')).toBeNull();
  expect(await cache.get('b')).not.toBeNull();
});

test('a state that is too large leaves no older one behind', async () => {
  const cache = createMemoryJobCache({ maxBytes: 10_000 });
  await cache.put(job('a'), TTL_MS);
  await cache.put({ ...job('a', 'x'.repeat(20_000)), revision: 1 }, TTL_MS);
  expect(await cache.get('a')).toBeNull();
});
