import { randomUUID } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Database, Statement } from '../../src/database.ts';
import type { EventStore, NewEvent } from '../../src/events/event-store.ts';
import { jobStream } from '../../src/events/job.ts';
import { CheckpointMovedError } from '../../src/subscriptions/checkpoints.ts';
import { consume } from '../../src/subscriptions/consumer.ts';
import type { ConsumedEvent, Consumer } from '../../src/subscriptions/consumer.ts';
import { silentLogger } from '../support/database.ts';
import { events } from '../support/job-spec.ts';
import { createTestStore, everything, stored } from '../support/store.ts';
import { createGate, eventually } from '../support/waiting.ts';

async function setup() {
  const test = await createTestStore();
  const { store, database } = test;
  const stops: (() => Promise<unknown>)[] = [];
  onTestFinished(async () => {
    await Promise.all(stops.map((stop) => stop()));
    await test.drop();
  });
  // No key: an event that is applied twice is there twice.
  await database.query(
    'CREATE TABLE seen (n bigint GENERATED ALWAYS AS IDENTITY, event_id uuid NOT NULL, consumer text NOT NULL)',
  );

  function run(consumer: Consumer, overrides: { database?: Database; store?: EventStore } = {}) {
    const stopping = new AbortController();
    const options = { store, database, logger: silentLogger, signal: stopping.signal, ...overrides };
    const ended = consume(consumer, options).then(
      () => 'returned' as const,
      (error: unknown) => error,
    );
    const stop = (): Promise<unknown> => {
      stopping.abort();
      return ended;
    };
    stops.push(stop);
    return { ended, stop };
  }
  async function seen(): Promise<string[]> {
    const { rows } = await database.query<{ event_id: string }>('SELECT event_id FROM seen ORDER BY n');
    return rows.map((row) => row.event_id);
  }
  async function checkpoint(name = 'test') {
    const { rows } = await database.query<{
      position: bigint;
      failed_event_id: string | null;
      error: string | null;
    }>('SELECT position, failed_event_id, error FROM checkpoints WHERE name = $1', [name]);
    return rows[0];
  }
  /** Appends jobs with one event each. */
  async function append(count: number): Promise<string[]> {
    const added = Array.from({ length: count }, () => stored(events.created({ jobId: randomUUID() })));
    await Promise.all(
      added.map((event) =>
        store.append(jobStream(event.data['jobId'] as string), [event], { expected: 'no_stream' }),
      ),
    );
    return added.map(({ id }) => id);
  }
  async function inOrder(): Promise<string[]> {
    return (await everything(store)).map(({ id }) => id);
  }
  return { store, database, run, seen, checkpoint, append, inOrder };
}

function recorder(overrides: Partial<Consumer> = {}): Consumer {
  return {
    name: 'test',
    prefixes: ['job-'],
    batchSize: 10,
    apply: (batch) => record('test', batch),
    ...overrides,
  };
}

function record(name: string, batch: readonly ConsumedEvent[]): Statement[] {
  return batch.map(({ recorded }) => ({
    sql: 'INSERT INTO seen (event_id, consumer) VALUES ($1, $2)',
    values: [recorded.id, name],
  }));
}

/** An event of a type that this build does not know. */
function foreign(): NewEvent {
  return { ...stored(events.created()), type: 'JobTeleported' };
}

describe('consume', () => {
  it('applies the backlog and what comes after it once, in order, with the checkpoint', async () => {
    const { store, run, seen, checkpoint, append, inOrder } = await setup();
    await append(35);
    const { stop } = run(recorder());
    await eventually(async () => (await seen()).length === 35);
    await append(3);
    await eventually(async () => (await seen()).length === 38);
    expect(await stop()).toBe('returned');
    expect(await seen()).toEqual(await inOrder());
    expect((await checkpoint())?.position).toBe(await store.head());
  });

  it('moves rows and checkpoint in one transaction, so that a crash between them undoes both', async () => {
    const { database, run, seen, checkpoint, append, inOrder } = await setup();
    await append(12);
    const crashed = createGate();
    let crashes = 0;
    // The process is gone when the rows are written and the commit is not.
    const dying: Database = {
      query: (sql, values) => database.query(sql, values),
      transaction: (work) => database.transaction(work),
      pipeline: (first, work) =>
        database.pipeline(first, async (tx) => {
          const statements = await work(tx);
          if (crashes++ > 0) return statements;
          crashed.open();
          return [
            ...statements,
            { sql: `DO $$ BEGIN RAISE SQLSTATE '40001' USING MESSAGE = 'killed'; END $$` },
          ];
        }),
    };
    const first = run(recorder(), { database: dying });
    await crashed.opened;
    expect(await first.stop()).toBe('returned');
    const { position } = (await checkpoint())!;
    expect((await seen()).length === 0).toBe(position === -1n);
    run(recorder());
    await eventually(async () => (await seen()).length === 12);
    expect(await seen()).toEqual(await inOrder());
  });

  it('lets one of two consumers on one checkpoint step down, and applies nothing twice', async () => {
    const { run, seen, append, inOrder } = await setup();
    await append(40);
    const first = run(recorder());
    const second = run(recorder());
    await append(20);
    const loser = await Promise.race([first.ended, second.ended]);
    expect(loser).toBeInstanceOf(CheckpointMovedError);
    await eventually(async () => (await seen()).length === 60);
    expect(await seen()).toEqual(await inOrder());
  });

  it('stops in front of an event it cannot decode and names it, while others go on', async () => {
    const { store, run, seen, checkpoint, append } = await setup();
    const before = await append(5);
    const poison = foreign();
    const stream = jobStream(randomUUID());
    await store.append(stream, [poison], { expected: 'no_stream' });
    await append(2);
    const committed: bigint[] = [];
    const { ended } = run(
      recorder({ committed: (position) => Promise.resolve(void committed.push(position)) }),
    );
    run(recorder({ name: 'other', prefixes: ['jobLog-'] }));
    expect(await ended).toBe('returned');
    expect((await seen()).sort()).toEqual(before.sort());
    const { position, failed_event_id, error } = (await checkpoint())!;
    expect(failed_event_id).toBe(poison.id);
    expect(error).toContain(`JobTeleported ${poison.id} (${stream}@0`);
    expect(position).toBeLessThan((await everything(store)).find(({ id }) => id === poison.id)!.position);
    // What was applied before the stop was followed up.
    expect(committed.at(-1)).toBe(position);
    await eventually(async () => (await checkpoint('other'))?.position === (await store.head()));
  });

  it('reports the stop at once when the event is the last of an idle store', async () => {
    const { store, run, checkpoint } = await setup();
    const running = run(recorder());
    await eventually(async () => await checkpoint());
    await store.append(jobStream(randomUUID()), [foreign()], { expected: 'no_stream' });
    expect(await running.ended).toBe('returned');
  });

  it('stops in front of an event it cannot apply, and resumes after the fix', async () => {
    const { run, seen, checkpoint, append, inOrder } = await setup();
    await append(8);
    const bad = (await inOrder())[4]!;
    const broken = recorder({
      apply(batch) {
        if (batch.some(({ recorded }) => recorded.id === bad)) throw new TypeError('no such column');
        return record('test', batch);
      },
    });
    expect(await run(broken).ended).toBe('returned');
    expect(await seen()).toEqual((await inOrder()).slice(0, 4));
    expect(await checkpoint()).toMatchObject({
      failed_event_id: bad,
      error: expect.stringContaining('no such column') as string,
    });
    run(recorder());
    await eventually(async () => (await seen()).length === 8);
    expect(await seen()).toEqual(await inOrder());
    expect(await checkpoint()).toMatchObject({ failed_event_id: null, error: null });
  });

  it('takes a SQL error of the event for the event, not for a failure of Postgres', async () => {
    const { run, checkpoint, append } = await setup();
    await append(1);
    const broken = recorder({ apply: () => [{ sql: 'SELECT 1 / 0' }] });
    expect(await run(broken).ended).toBe('returned');
    expect((await checkpoint())?.error).toContain('division by zero');
  });

  it('does not report a stop over a process that is past the event', async () => {
    const { database, run, seen, checkpoint, append } = await setup();
    await append(1);
    const failing = createGate();
    const goOn = createGate();
    const slow: Database = {
      query: async (sql, values) => {
        if (!sql.includes('SET failed_event_id = $2')) return database.query(sql, values);
        failing.open();
        await goOn.opened;
        return database.query(sql, values);
      },
      transaction: (work) => database.transaction(work),
      pipeline: (first, work) => database.pipeline(first, work),
    };
    const old = run(recorder({ apply: () => Promise.reject(new Error('an old build')) }), { database: slow });
    await failing.opened;
    run(recorder());
    await eventually(async () => (await seen()).length === 1);
    goOn.open();
    expect(await old.ended).toBe('returned');
    expect(await checkpoint()).toMatchObject({ failed_event_id: null, error: null });
  });

  it('survives the loss of its connections', async () => {
    const { database, run, seen, append, inOrder } = await setup();
    await append(30);
    let cuts = 0;
    const { stop } = run(
      recorder({
        async apply(batch, tx) {
          const cut = 'SELECT pg_terminate_backend(pg_backend_pid())';
          if (++cuts === 1) await tx.query(cut);
          return [...record('test', batch), ...(cuts === 2 ? [{ sql: cut }] : [])];
        },
      }),
    );
    await eventually(async () => (await seen()).length === 30);
    await database.query(
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
    );
    await append(3);
    await eventually(async () => (await seen()).length === 33);
    expect(await stop()).toBe('returned');
    expect(await seen()).toEqual(await inOrder());
  });

  it('moves its checkpoint over events of others, though it wants none of them', async () => {
    const { store, run, checkpoint, append } = await setup();
    const consumer = recorder({ prefixes: ['webhook-'] });
    run(consumer);
    await append(3);
    await eventually(async () => (await checkpoint())?.position === (await store.head()));
    await append(1);
    await eventually(async () => (await checkpoint())?.position === (await store.head()));
  });

  it('makes no transaction of events that it ignores, tells of them at once, and stands behind them in the end', async () => {
    const { store, run, seen, checkpoint, append } = await setup();
    const told: bigint[] = [];
    const consumer = recorder({
      ignores: ['JobCreated'],
      committed(position) {
        told.push(position);
        return Promise.resolve();
      },
    });
    run(consumer);
    await append(3);
    await eventually(async () => (await checkpoint())?.position === (await store.head()));
    expect(await seen()).toEqual([]);
    expect(told).toContain(await store.head());
    expect(told).toEqual(told.toSorted((a, b) => Number(a - b)));

    // Together with one that matters they are part of the batch.
    const stream = jobStream(randomUUID());
    await store.append(stream, [stored(events.created()), stored(events.started(1))], {
      expected: 'no_stream',
    });
    await eventually(async () => (await checkpoint())?.position === (await store.head()));
    expect(await seen()).toHaveLength(2);
    expect(told.at(-1)).toBe(await store.head());
  });

  it('stops in front of an event that it cannot read, though it ignores those of its type', async () => {
    const { store, run, seen, checkpoint } = await setup();
    const unreadable = stored(events.created());
    const stream = jobStream(randomUUID());
    const newer = { ...unreadable, metadata: { ...unreadable.metadata, schemaVersion: 99 } };
    await store.append(stream, [newer], { expected: 'no_stream' });
    expect(await run(recorder({ ignores: ['JobCreated'] })).ended).toBe('returned');
    expect((await checkpoint())?.failed_event_id).toBe(unreadable.id);
    expect(await seen()).toEqual([]);
  });

  it('begins what need not wait before the transaction, for each batch, and again when that failed', async () => {
    const { run, seen, append } = await setup();
    const received: string[][] = [];
    let failures = 0;
    const consumer = recorder({
      received: (batch) => received.push(batch.map(({ recorded }) => recorded.id)),
      apply(batch) {
        expect(received.at(-1)).toEqual(batch.map(({ recorded }) => recorded.id));
        if (failures++ === 0) throw Object.assign(new Error('deadlock'), { code: '40P01' });
        return record('test', batch);
      },
    });
    const ids = await append(2);
    run(consumer);
    await eventually(async () => (await seen()).length === 2);
    expect(received).toHaveLength(2);
    expect(received.map((batch) => batch.toSorted())).toEqual([ids.toSorted(), ids.toSorted()]);
  });

  it('goes on when what follows a commit fails', async () => {
    const { run, seen, append } = await setup();
    await append(5);
    run(recorder({ committed: () => Promise.reject(new Error('the bus is away')) }));
    await eventually(async () => (await seen()).length === 5);
    await append(5);
    await eventually(async () => (await seen()).length === 10);
  });

  it('refuses to run with a checkpoint ahead of the store', async () => {
    const { database, run, checkpoint } = await setup();
    await database.query(`INSERT INTO checkpoints (name, position) VALUES ('test', 1000000)`);
    expect(await run(recorder()).ended).toBe('returned');
    expect((await checkpoint())?.error).toContain('ahead');
  });
});
