import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Queryable } from '../../src/database.ts';
import { UnavailableError } from '../../src/errors.ts';
import { leadTogether, runAsLeader } from '../../src/subscriptions/leadership.ts';
import { createTestDatabase, silentLogger } from '../support/database.ts';
import { createGate, eventually } from '../support/waiting.ts';

const LEASE_MS = 600;

async function setup() {
  const test = await createTestDatabase();
  const stops: (() => Promise<void>)[] = [];
  onTestFinished(async () => {
    await Promise.all(stops.map((stop) => stop()));
    await test.drop();
  });
  const leading = new Set<string>();

  /** A process that stands for the lease and leads until its term ends. */
  function stand(name: string, database: Queryable = test.database, leaseMs = LEASE_MS) {
    const stopping = new AbortController();
    const terms: AbortSignal[] = [];
    const options = {
      database,
      name: 'projector',
      holder: randomUUID(),
      logger: silentLogger,
      signal: stopping.signal,
      leaseMs,
    };
    const running = runAsLeader(options, async (term) => {
      terms.push(term);
      leading.add(name);
      if (!term.aborted) await once(term, 'abort');
      leading.delete(name);
    });
    const stop = async (): Promise<void> => {
      stopping.abort();
      await running;
    };
    stops.push(stop);
    return { stop, terms, holder: options.holder };
  }
  return { database: test.database, stand, leading };
}

/** A database whose statements can be made to fail or to hang. */
function breakable(database: Queryable) {
  const state: { mode: 'ok' | 'fail' | 'hang' } = { mode: 'ok' };
  const released = createGate();
  const wrapped: Queryable = {
    async query(sql, values) {
      if (state.mode === 'fail') throw new UnavailableError('postgres', 'cut');
      if (state.mode === 'hang') {
        await released.opened;
        throw new UnavailableError('postgres', 'cut');
      }
      return database.query(sql, values);
    },
  };
  return { database: wrapped, set: (mode: typeof state.mode) => (state.mode = mode), release: released.open };
}

describe('leadership', () => {
  it('gives the lease to one of three', async () => {
    const { database, stand, leading } = await setup();
    let answered = 0;
    const counting: Queryable = {
      query: (sql, values) => database.query(sql, values).finally(() => answered++) as never,
    };
    const three = ['a', 'b', 'c'].map((name) => stand(name, counting, 5_000));
    await eventually(() => answered >= 3);
    expect(leading.size).toBe(1);
    expect(three.flatMap(({ terms }) => terms)).toHaveLength(1);
  });

  it('gives the lease back on stop, so that a standby need not wait for its end', async () => {
    const { database, stand, leading } = await setup();
    const first = stand('first', database, 60_000);
    await eventually(() => leading.has('first'));
    await first.stop();
    expect((await database.query('SELECT FROM leases')).rowCount).toBe(0);
    stand('second', database, 60_000);
    await eventually(() => leading.has('second'));
  });

  it('goes to a standby when the holder has died without giving it back', async () => {
    const { database, stand, leading } = await setup();
    await database.query(
      `INSERT INTO leases (name, holder, expires_at) VALUES ('projector', $1, clock_timestamp() + interval '300 ms')`,
      [randomUUID()],
    );
    stand('standby');
    await eventually(() => leading.has('standby'));
  });

  it('ends the term when the lease cannot be renewed', async () => {
    const { database, stand, leading } = await setup();
    const broken = breakable(database);
    const holder = stand('holder', broken.database);
    await eventually(() => leading.has('holder'));
    broken.set('fail');
    await eventually(() => holder.terms[0]?.aborted);
    stand('standby');
    await eventually(() => leading.has('standby'));
    expect(leading).toEqual(new Set(['standby']));
  });

  it('ends the term in time when the renewing statement hangs', async () => {
    const { database, stand, leading } = await setup();
    const broken = breakable(database);
    const holder = stand('holder', broken.database);
    await eventually(() => leading.has('holder'));
    broken.set('hang');
    await eventually(() => holder.terms[0]?.aborted);
    expect(holder.terms).toHaveLength(1);
    broken.release();
  });

  it('ends the term at the next renewal when another process has the lease', async () => {
    const { database, stand, leading } = await setup();
    const holder = stand('holder', database, 1_000);
    await eventually(() => leading.has('holder'));
    const other = randomUUID();
    await database.query(`UPDATE leases SET holder = $1, expires_at = clock_timestamp() + interval '1 h'`, [
      other,
    ]);
    await eventually(() => holder.terms[0]?.aborted);
    await eventually(() => leading.size === 0);
    const { rows } = await database.query('SELECT holder FROM leases');
    expect(rows).toEqual([{ holder: other }]);
  });

  it('stands again when leading fails', async () => {
    const { database } = await createStanding();
    let terms = 0;
    const stopping = new AbortController();
    const running = runAsLeader(
      {
        database,
        name: 'projector',
        holder: randomUUID(),
        logger: silentLogger,
        signal: stopping.signal,
        leaseMs: 100,
      },
      async (term) => {
        terms++;
        if (terms === 1) throw new Error('no');
        if (!term.aborted) await once(term, 'abort');
      },
    );
    await eventually(() => terms === 2);
    stopping.abort();
    await running;
  });
});

async function createStanding() {
  const test = await createTestDatabase();
  onTestFinished(() => test.drop());
  return test;
}

describe('leadTogether', () => {
  it('ends the others and throws when one part throws', async () => {
    const ended: string[] = [];
    const term = new AbortController();
    const leading = leadTogether(term.signal, [
      async (signal) => {
        await once(signal, 'abort');
        ended.push('first');
      },
      () => Promise.reject(new Error('second failed')),
    ]);
    await expect(leading).rejects.toThrow('second failed');
    expect(ended).toEqual(['first']);
  });

  it('keeps the term when one part returns, until the term ends', async () => {
    const term = new AbortController();
    const gate = createGate();
    let done = false;
    const leading = leadTogether(term.signal, [
      () => Promise.resolve(),
      (signal) => {
        gate.open();
        return once(signal, 'abort').then(() => undefined);
      },
    ]).then(() => (done = true));
    await gate.opened;
    expect(done).toBe(false);
    term.abort();
    await leading;
  });
});
