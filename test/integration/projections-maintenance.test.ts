import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { MaintenanceUnderWayError } from '../../src/projections/maintenance.ts';
import { createMaintained } from '../support/maintaining.ts';
import { createGate, eventually } from '../support/waiting.ts';

const LEASE = 'projections:maintenance';

describe('maintenance of read models', () => {
  it('is for one process at a time', async () => {
    const test = await createMaintained();
    const begun = createGate();
    const goOn = createGate();
    const first = test.maintain(
      async () => {
        begun.open();
        await goOn.opened;
        return 'first';
      },
      { leaseMs: 1_500 },
    );
    await begun.opened;
    await expect(test.maintain(() => Promise.resolve('second'), { leaseMs: 1_500 })).rejects.toThrow(
      MaintenanceUnderWayError,
    );
    goOn.open();
    expect(await first).toBe('first');
    expect(await test.maintain(() => Promise.resolve('third'))).toBe('third');
    expect((await test.database.query('SELECT FROM leases')).rowCount).toBe(0);
  });

  it('goes on by itself after a process that was killed, and ends what that has left running', async () => {
    const test = await createMaintained();
    const { database } = test;
    await database.query(
      `INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, clock_timestamp() + interval '1 s')`,
      [LEASE, randomUUID()],
    );
    const killed = new pg.Client({
      connectionString: test.url,
      application_name: 'asyncly projections of a process that was killed',
    });
    killed.on('error', () => undefined);
    await killed.connect();
    await killed.query('BEGIN; LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE');
    const done = await test.maintain((m) => m.database.query('SELECT FROM jobs'));
    expect(done.rowCount).toBe(0);
    await expect(killed.query('COMMIT')).rejects.toThrow();
  });

  it('ends when the lease is lost', async () => {
    const test = await createMaintained();
    const ended = test.maintain(
      async (m) => {
        await test.database.query(`UPDATE leases SET holder = $1, expires_at = now() + interval '1 h'`, [
          randomUUID(),
        ]);
        await m.database.query('SELECT pg_sleep(600)');
      },
      { leaseMs: 600 },
    );
    await expect(ended).rejects.toMatchObject({ code: 'LEASE_LOST' });
  });

  it('cuts a long statement off on an interrupt', async () => {
    const test = await createMaintained();
    const interrupt = new AbortController();
    const ended = test.maintain((m) => m.database.query('SELECT pg_sleep(600)'), {
      signal: interrupt.signal,
    });
    ended.catch(() => undefined);
    const sleeping = `SELECT FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active'
                      AND datname = current_database()`;
    await eventually(async () => (await test.database.query(sleeping)).rowCount === 1);
    interrupt.abort(new Error('Ctrl-C'));
    await expect(ended).rejects.toThrow('Ctrl-C');
    expect((await test.database.query(sleeping)).rowCount).toBe(0);
    expect((await test.database.query('SELECT FROM leases')).rowCount).toBe(0);
  });
});
