import { beforeAll, describe, expect, test } from 'vitest';
import { openEventStore } from '../../src/composition/open-event-store.ts';
import { StartupError } from '../../src/errors.ts';
import { canariesIn } from '../support/canaries.ts';
import { runWithCanaries } from '../support/canary-run.ts';
import { silentLogger } from '../support/database.ts';
import { withRedis } from '../support/redis-server.ts';

test.each([
  'Postgres://admin:PASSWORD@host/x',
  'postgres:admin:PASSWORD@host',
  'admin:PASSWORD@host',
  'PASSWORD',
])('an address that is none is not repeated: %s', async (address) => {
  const opened = openEventStore(address, { dataDir: '/nowhere', logger: silentLogger, use: 'reading' });
  const error = await opened.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(StartupError);
  expect(JSON.stringify([error, (error as Error).message])).not.toContain('PASSWORD');
});

const places = [
  ['Postgres for everything', false] as const,
  ...(withRedis ? [['Redis', true] as const] : []),
];

describe.each(places)('with %s', (_, redisToo) => {
  let left: Awaited<ReturnType<typeof runWithCanaries>>;
  beforeAll(async () => {
    left = await runWithCanaries(redisToo);
  }, 120_000);

  test('the run had secrets in it, and said a lot', () => {
    const { known, code, output, answers, faults, commands, tables, deliveries } = left;
    for (const value of Object.values(known)) expect(value.length).toBeGreaterThan(20);
    expect(code).toBe(0);
    for (const { status, body } of faults)
      expect([status, body]).toEqual([500, { success: false, message: 'Internal server error' }]);
    expect(output).toMatch(/"level":20.*\n/);
    expect(output.match(/"msg":"Request failed"/g)).toHaveLength(3);
    expect(answers.length).toBeGreaterThan(20);
    expect(deliveries.length).toBeGreaterThan(2);
    expect(commands.length > 50).toBe(redisToo);
    expect(tables.get('eventstore.events')).toContain('JobFailed');
    expect(tables.get('jobs')).toBeUndefined();
    expect(tables.get('public.jobs')).toContain(left.payload);
  });

  test('no log line has a secret, at any level, or what users give their jobs', () => {
    expect(canariesIn(left.output, { ...left.known, payload: left.payload })).toEqual([]);
    expect(left.output).not.toMatch(/\$2[aby]\$\d\d\$/);
  });

  test('no answer has one but those that are asked for it', () => {
    expect(canariesIn(left.answers.join('\n'), left.known)).toEqual([]);
  });

  test('no webhook has one', () => {
    expect(canariesIn(JSON.stringify(left.deliveries), left.known)).toEqual([]);
  });

  test('no event, read model or queue entry has one, and no account in clear', () => {
    for (const [table, text] of left.tables) {
      // Where a hash, and what webhooks are signed with, have to be.
      const { passwordHash, webhookKey, ...rest } = left.known;
      const known = {
        ...rest,
        ...(table !== 'public.users' && { passwordHash: passwordHash! }),
        ...(table !== 'public.webhook_secrets' && { webhookKey: webhookKey! }),
      };
      expect([table, canariesIn(text, known)]).toEqual([table, []]);
    }
  });

  test.runIf(redisToo)('nothing that was ever sent to Redis has one', () => {
    expect(canariesIn(left.commands.join('\n'), left.known)).toEqual([]);
  });
});
