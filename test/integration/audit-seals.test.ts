import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { SEAL_INTERVAL } from '../../src/audit/chain.ts';
import { auditSealsProjection } from '../../src/audit/seals-projection.ts';
import { loadHead, loadSeals } from '../../src/audit/seals.ts';
import type { Database } from '../../src/database.ts';
import { UnavailableError } from '../../src/errors.ts';
import type { PositionedEvent } from '../../src/events/event-store.ts';
import { jobLogStream, jobStream } from '../../src/events/job.ts';
import { projections } from '../../src/projections/registry.ts';
import { resetReadModels } from '../../src/projections/reset.ts';
import { createReadiness } from '../../src/queries/readiness.ts';
import { loadCheckpoint } from '../../src/subscriptions/checkpoints.ts';
import { consume } from '../../src/subscriptions/consumer.ts';
import { copyEvents } from '../../src/transfer/copy-events.ts';
import { adapters, forever, seal, sealRows, verifyAudited } from '../support/auditing.ts';
import { copiedEvent, doubleEnd, postgresEnd, writeHistory } from '../support/copying.ts';
import { createTestDatabase, silentLogger } from '../support/database.ts';
import { historyInBatches, uuid } from '../support/histories.ts';
import { eventually } from '../support/waiting.ts';
import { applyTo } from '../support/read-models.ts';

describe('the seals', () => {
  it('are the same wherever the events were cut into batches', async () => {
    const test = await createTestDatabase();
    onTestFinished(() => test.drop());
    const { database } = test;
    const project = async (batches: readonly (readonly PositionedEvent[])[]): Promise<unknown> => {
      await database.query('TRUNCATE audit_hashes, audit_seals, audit_head');
      for (const batch of batches) {
        await applyTo(database, auditSealsProjection, batch);
      }
      return sealRows(database);
    };
    await fc.assert(
      fc.asyncProperty(historyInBatches, async (batches) => {
        expect(await project(batches)).toEqual(await project([batches.flat()]));
      }),
      // Nothing at all, as a batch and as none.
      { numRuns: 25, examples: [[[]], [[[]]]] },
    );
    // Past several seals and pages, whatever the batches have to do with them.
    const [sample = []] = fc.sample(
      historyInBatches.filter((batches) => batches.flat().length > 0),
      1,
    );
    const events = Array.from({ length: 2 * SEAL_INTERVAL + 40 }, (_, n) => ({
      ...(sample.flat()[0] as PositionedEvent),
      revision: n,
      position: BigInt(n),
    }));
    const whole = await project([events]);
    for (const size of [1_000, SEAL_INTERVAL, 33]) {
      const batches = Array.from({ length: Math.ceil(events.length / size) }, (_, n) =>
        events.slice(n * size, (n + 1) * size),
      );
      expect(await project(batches)).toEqual(whole);
    }
    expect(await loadHead(database)).toMatchObject({ events: events.length });
    expect(
      (await loadSeals(database, 0, Number.MAX_SAFE_INTEGER)).map(({ events: at, position }) => [
        at,
        position,
      ]),
    ).toEqual([
      [SEAL_INTERVAL, BigInt(SEAL_INTERVAL - 1)],
      [2 * SEAL_INTERVAL, BigInt(2 * SEAL_INTERVAL - 1)],
    ]);
  });

  describe.each(adapters)('on $adapter', ({ open }) => {
    it('count each event once, however often the projector is ended or its transactions fail', async () => {
      const { store, database, end } = await open();
      const events = await writeHistory(store, 60);
      const whole = await open();
      await copyEvents({ from: end, to: { ...whole.end, shared: true }, signal: forever });
      await seal(whole);

      let chance = 0;
      const failing: Database = {
        query: (sql, values) => database.query(sql, values),
        transaction: (work) => database.transaction(work),
        pipeline: (first, work) =>
          database.pipeline(first, async (tx) => {
            const statements = await work(tx);
            if (++chance % 3 === 0) throw new UnavailableError('postgres', 'lost before the commit');
            return statements;
          }),
      };
      const head = await store.head();
      for (let ends = 1; (await loadCheckpoint(database, 'audit_seals')) < head; ends++) {
        expect(ends).toBeLessThan(200);
        // Each projector ends behind its first batch, as one that is killed there.
        const killed = new AbortController();
        await consume(
          {
            ...auditSealsProjection,
            batchSize: 10 + (ends % 30),
            committed() {
              killed.abort();
              return Promise.resolve();
            },
          },
          { store, database: failing, logger: silentLogger, signal: killed.signal },
        );
      }
      expect(await loadHead(database)).toMatchObject({ events });
      const positionless = async (of: Database) =>
        JSON.stringify(await sealRows(of), (key, value: unknown) =>
          key === 'position' ? undefined : typeof value === 'bigint' ? String(value) : value,
        );
      expect(await positionless(database)).toBe(await positionless(whole.database));
    });

    it('take an event that was stored twice as two, and one that this build cannot read as it is', async () => {
      const { store, database } = await open();
      const twice = copiedEvent({ text: 'twice' });
      const job = randomUUID();
      await store.append(jobLogStream(job), [twice], { expected: 'no_stream' });
      await store.append(jobLogStream(job), [copiedEvent()], { expected: 0 });
      // With a revision, nobody looks whether the id has been there before.
      await store.append(jobLogStream(job), [twice], { expected: 1 });
      const newer = { ...copiedEvent(), type: 'OfTomorrow' };
      await store.append(jobStream(randomUUID()), [newer], { expected: 'no_stream' });
      await store.append('invoice-1', [copiedEvent()], { expected: 'no_stream' });
      await seal({ store, database });
      expect(await loadHead(database)).toMatchObject({ events: 4 });
      expect(await verifyAudited({ store, database })).toMatchObject({ finding: null, events: 4 });
    });
  });

  it.each([
    { name: 'Postgres to EventStoreDB', ends: [postgresEnd, doubleEnd] as const },
    { name: 'EventStoreDB to Postgres', ends: [doubleEnd, postgresEnd] as const },
  ])('stay as they are when the events are copied: $name', async ({ ends: [openFrom, openTo] }) => {
    const [from, to, one, other] = await Promise.all([
      openFrom(),
      openTo(),
      createTestDatabase(),
      createTestDatabase(),
    ]);
    onTestFinished(async () => {
      await Promise.all([from.close(), to.close()]);
      await Promise.all([one.drop(), other.drop()]);
    });
    await writeHistory(from.store, 160);
    await copyEvents({ from, to, signal: forever });
    await seal({ store: from.store, database: one.database });
    await seal({ store: to.store, database: other.database });
    const head = await loadHead(one.database);
    expect(head).toMatchObject({ events: 1_120 });
    expect(await loadHead(other.database)).toEqual(head);
    const chains = async (database: Database) =>
      (await loadSeals(database, 0, Number.MAX_SAFE_INTEGER)).map(({ events, chain }) => [events, chain]);
    expect(await chains(other.database)).toEqual(await chains(one.database));
  });

  it('are made anew by a reset, and what was signed of them stays', async () => {
    const [{ open }] = adapters;
    const { store, database } = await open();
    await writeHistory(store, 10);
    await seal({ store, database });
    const before = await sealRows(database);
    await database.query(
      `INSERT INTO audit_signatures SELECT events, chain, 'key', now(), decode(repeat('00', 64), 'hex') FROM audit_head`,
    );
    await resetReadModels(database, projections);
    expect(await sealRows(database)).toEqual([[], [], []]);
    await seal({ store, database });
    expect(await sealRows(database)).toEqual(before);
    expect((await database.query('SELECT FROM audit_signatures')).rowCount).toBe(1);
  });

  it('degrade the service when they stand still, and keep it ready', async () => {
    const [{ open }] = adapters;
    const { store, database } = await open();
    await writeHistory(store, 1);
    await seal({ store, database });
    await database.query(`INSERT INTO checkpoints (name, position) VALUES ('jobs', $1)`, [
      await store.head(),
    ]);
    await database.query(
      `UPDATE checkpoints SET position = -1, error = 'it broke', failed_event_id = $1 WHERE name = 'audit_seals'`,
      [uuid(1, 1)],
    );
    const readiness = createReadiness({
      database,
      store,
      projections: ['jobs', 'audit_seals'],
      logger: silentLogger,
    });
    const { ready, parts } = await eventually(readiness);
    expect({ ready, seals: parts['projection:audit_seals']?.status }).toEqual({
      ready: true,
      seals: 'degraded',
    });
  });
});
