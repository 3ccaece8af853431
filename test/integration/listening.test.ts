import { expect, it, onTestFinished } from 'vitest';
import { createListening } from '../../src/infrastructure/postgres/listening.ts';
import { createTestDatabase } from '../support/database.ts';
import { eventually } from '../support/waiting.ts';

it('begins anew after a connection that was there and could not listen, and then hears everything once', async () => {
  await using test = await createTestDatabase({ migrated: false });
  const closing = new AbortController();
  const heard: string[] = [];
  const failures: number[] = [];
  let begun = 0;
  const listening = createListening({
    url: test.url,
    applicationName: 'listening test',
    channel: 'a_channel',
    signal: closing.signal,
    begun: () => begun++,
    heard: (payload) => heard.push(payload),
    lost: () => undefined,
    unavailable: (inARow) => failures.push(inARow),
  });
  onTestFinished(async () => {
    closing.abort();
    await listening.connection.close();
    await listening.stopped();
  });
  // A transaction that has failed refuses LISTEN, on this connection and on no other.
  const client = await listening.connection.get();
  await client.query('BEGIN');
  await client.query('SELECT 1 / 0').catch(() => undefined);
  listening.start();
  await eventually(() => begun === 1);
  expect(failures).toEqual([1]);
  await test.database.query("SELECT pg_notify('a_channel', 'one'), pg_notify('a_channel', 'two')");
  await eventually(() => heard.includes('two'));
  expect(heard).toEqual(['one', 'two']);
});
