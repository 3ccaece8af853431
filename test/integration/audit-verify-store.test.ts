import { randomUUID } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { SEAL_INTERVAL } from '../../src/audit/chain.ts';
import { createSealSigner } from '../../src/audit/seal-signer.ts';
import type { Database } from '../../src/database.ts';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import { projections } from '../../src/projections/registry.ts';
import { resetReadModels } from '../../src/projections/reset.ts';
import {
  adapters,
  createKey,
  exportText,
  manifestOf,
  noKeys,
  seal,
  verifyAudited,
} from '../support/auditing.ts';

import { doubleEnd, writeHistory } from '../support/copying.ts';
import { createTestDatabase, silentLogger } from '../support/database.ts';
import { everything } from '../support/store.ts';

/** A sealed store on Postgres, and a hand on its tables. */
async function setup(jobs: number) {
  const [{ open }] = adapters;
  const audited = await open();
  await writeHistory(audited.store, jobs);
  await seal(audited);
  const events = await everything(audited.store);
  const tables = createDatabase({
    url: audited.end.url,
    max: 1,
    applicationName: 'tampering',
    logger: silentLogger,
  });
  onTestFinished(() => tables.close());
  return { ...audited, events, tables };
}

/** The events from one on make room for others in front of them, or close a gap. */
async function shift(tables: Database, from: bigint, by: number): Promise<void> {
  await tables.transaction(async (tx) => {
    await tx.query(
      'CREATE TEMPORARY TABLE moved ON COMMIT DROP AS SELECT * FROM eventstore.events WHERE position >= $1',
      [from],
    );
    await tx.query('DELETE FROM eventstore.events WHERE position >= $1', [from]);
    await tx.query('UPDATE moved SET position = position + $1', [by]);
    await tx.query('INSERT INTO eventstore.events OVERRIDING SYSTEM VALUE SELECT * FROM moved');
  });
}

async function exchangePositions(tables: Database, one: bigint, other: bigint): Promise<void> {
  await tables.transaction(async (tx) => {
    await tx.query(
      'CREATE TEMPORARY TABLE moved ON COMMIT DROP AS SELECT * FROM eventstore.events WHERE position IN ($1, $2)',
      [one, other],
    );
    await tx.query('DELETE FROM eventstore.events WHERE position IN ($1, $2)', [one, other]);
    await tx.query('UPDATE moved SET position = $1::bigint + $2::bigint - position', [one, other]);
    await tx.query('INSERT INTO eventstore.events OVERRIDING SYSTEM VALUE SELECT * FROM moved');
  });
}

describe('the event store itself', () => {
  it('is as it was, with events that nobody has sealed yet', async () => {
    const { store, database, events } = await setup(160);
    const more = await writeHistory(store, 1);
    expect(await verifyAudited({ store, database })).toMatchObject({
      finding: null,
      events: events.length + more,
      known: { sealed: events.length, signed: 0 },
      chain: manifestOf(await exportText({ store, database }))['chainAfter'],
    });
  });

  it.each([
    ['data', `data = json_build_object('n', 7)`],
    ['one character of the data', `data = replace(data::text, 'true', 'null')::json`],
    ['its type', `type = 'JobCancelled'`],
    ['its id', `id = gen_random_uuid()`],
    ['who did it', `metadata = jsonb_set(metadata::jsonb, '{actor,id}', '"somebody"')::json`],
    [
      'when it was',
      `metadata = jsonb_set(metadata::jsonb, '{occurredAt}', '"2026-01-01T00:00:00.001Z"')::json`,
    ],
    ['a number that is none', `data = '{"n": 1e400}'::json`],
  ])('names the event of which was changed: %s', async (_, change) => {
    const { tables, events, ...audited } = await setup(20);
    for (const index of [0, 63, 97, events.length - 1]) {
      const victim = events[index];
      const { rows } = await tables.query(
        'SELECT type, id, data::text, metadata::text FROM eventstore.events WHERE position = $1',
        [victim?.position],
      );
      await tables.query(`UPDATE eventstore.events SET ${change} WHERE position = $1`, [victim?.position]);
      const { finding, events: good } = await verifyAudited(audited);
      expect(finding).toMatchObject({
        number: index + 1,
        stream: victim?.stream,
        revision: victim?.revision,
        position: String(victim?.position),
      });
      expect(['changed', 'unreadable']).toContain(finding?.problem);
      expect(good).toBeLessThanOrEqual(index);
      await expect(exportText(audited)).rejects.toMatchObject({
        code: 'TAMPERED',
        data: { number: index + 1 },
      });
      const [{ type, id, data, metadata } = {}] = rows;
      await tables.query(
        'UPDATE eventstore.events SET type = $2, id = $3, data = $4, metadata = $5 WHERE position = $1',
        [victim?.position, type, id, data, metadata],
      );
      expect((await verifyAudited(audited)).finding).toBeNull();
    }
  });

  it('names the first of several', async () => {
    const { tables, events, ...audited } = await setup(20);
    const change = (index: number, data: string) =>
      tables.query('UPDATE eventstore.events SET data = $2 WHERE position = $1', [
        events[index]?.position,
        data,
      ]);
    await change(90, '{"n": 1e400}');
    await change(50, '{"n": 7}');
    await change(120, '{"n": 7}');
    expect((await verifyAudited(audited)).finding).toMatchObject({ problem: 'changed', number: 51 });
  });

  it('says where events were removed', async () => {
    const { tables, events, ...audited } = await setup(20);
    await tables.query('DELETE FROM eventstore.events WHERE position = ANY ($1)', [
      [events[50]?.position, events[51]?.position],
    ]);
    expect((await verifyAudited(audited)).finding).toMatchObject({
      problem: 'missing',
      number: 51,
      upTo: 52,
      id: events[52]?.id,
      message: expect.stringContaining(`behind ${events[49]?.type ?? ''} ${events[49]?.id ?? ''}`) as unknown,
    });
  });

  it('says that its end was removed', async () => {
    const { tables, events, ...audited } = await setup(20);
    await tables.query('DELETE FROM eventstore.events WHERE position >= $1', [events[137]?.position]);
    expect((await verifyAudited(audited)).finding).toMatchObject({
      problem: 'missing',
      number: 138,
      upTo: 140,
    });
  });

  it('names an event that was added, and one that was moved', async () => {
    const { tables, events, ...audited } = await setup(20);
    const place = events[70]?.position ?? 0n;
    await shift(tables, place, 1);
    const id = randomUUID();
    await tables.query(
      `INSERT INTO eventstore.events OVERRIDING SYSTEM VALUE
       SELECT $1::bigint, $2, 0, $3, type, data, metadata, size FROM eventstore.events WHERE position = $1::bigint - 1`,
      [place, `job-${id}`, id],
    );
    expect((await verifyAudited(audited)).finding).toMatchObject({ problem: 'misplaced', number: 71, id });
    await tables.query('DELETE FROM eventstore.events WHERE id = $1', [id]);
    await shift(tables, place + 1n, -1);
    expect((await verifyAudited(audited)).finding).toBeNull();

    await exchangePositions(tables, events[30]?.position ?? 0n, events[40]?.position ?? 0n);
    expect((await verifyAudited(audited)).finding).toMatchObject({
      problem: 'misplaced',
      number: 31,
      id: events[40]?.id,
    });
  });

  it('names the event of EventStoreDB that was changed or removed', async () => {
    const [end, seals] = await Promise.all([doubleEnd(), createTestDatabase()]);
    onTestFinished(async () => {
      await end.close();
      await seals.drop();
    });
    const audited = { store: end.store, database: seals.database };
    await writeHistory(end.store, 20);
    await seal(audited);
    const events = await everything(end.store);
    expect((await verifyAudited(audited)).finding).toBeNull();
    const logged = end.double.log.all.find(({ id }) => id === events[90]?.id);
    if (!logged) throw new Error('The event is not in the log');
    const { data } = logged;
    Object.assign(logged, { data: Buffer.from('{"n":99}') });
    const { number, ...of } = { number: 91, id: events[90]?.id, position: String(events[90]?.position) };
    expect((await verifyAudited(audited)).finding).toMatchObject({ problem: 'changed', number, ...of });
    Object.assign(logged, { data });
    end.double.log.remove(logged);
    expect((await verifyAudited(audited)).finding).toMatchObject({
      problem: 'missing',
      number,
      upTo: number,
    });
  });
});

describe('what was kept of the events', () => {
  it('is not believed against its seals, nor against what was signed', async () => {
    const { tables, events, ...audited } = await setup(300);
    const { database } = audited;
    const key = createKey();
    const signer = createSealSigner({ database, key });
    await signer.signNew('2026-05-19T12:00:00.000Z');
    await signer.signNew('2026-05-19T12:02:00.000Z');
    const trust = { keys: key.trusted };
    expect(await verifyAudited(audited, trust)).toMatchObject({
      finding: null,
      signed: { events: 2_100, keyId: key.id },
      unverified: 0,
    });
    expect(await verifyAudited(audited)).toMatchObject({ finding: null, signed: null, unverified: 3 });

    // The event, its hash, and then the seals as well: what an administrator of the database could do.
    const victim = 1_500;
    await tables.query(`UPDATE eventstore.events SET data = '{"n":7}' WHERE position = $1`, [
      events[victim - 1]?.position,
    ]);
    const { rows } = await database.query('SELECT * FROM audit_seals ORDER BY number');
    const other = await createTestDatabase();
    onTestFinished(() => other.drop());
    await seal({ store: audited.store, database: other.database });
    const take = async (table: string): Promise<void> => {
      const taken = await other.database.query<{ row: unknown }>(`SELECT to_json(t) AS row FROM ${table} t`);
      await database.query(`TRUNCATE ${table}`);
      await database.query(`INSERT INTO ${table} SELECT * FROM json_populate_recordset(NULL::${table}, $1)`, [
        JSON.stringify(taken.rows.map(({ row }) => row)),
      ]);
    };
    await take('audit_hashes');
    const suspects = { number: SEAL_INTERVAL + 1, upTo: 2 * SEAL_INTERVAL };
    expect((await verifyAudited(audited, trust)).finding).toMatchObject({ problem: 'records', ...suspects });
    await take('audit_seals');
    await take('audit_head');
    expect((await database.query('SELECT FROM audit_seals')).rowCount).toBe(rows.length);
    for (const keys of [key.trusted, noKeys]) {
      expect((await verifyAudited(audited, { keys })).finding).toMatchObject({
        problem: 'changed',
        ...suspects,
      });
    }
    await expect(exportText(audited)).rejects.toMatchObject({ code: 'TAMPERED' });
    expect(await signer.signNew('2026-05-19T14:00:00.000Z')).toBe('contradicted');

    // Signed by nobody, or by somebody else, that does not help.
    await database.query(
      `UPDATE audit_signatures s SET chain = a.chain FROM audit_seals a WHERE s.events = a.number * ${SEAL_INTERVAL}`,
    );
    expect((await verifyAudited(audited, trust)).finding).toMatchObject({
      problem: 'signature',
      number: 2 * SEAL_INTERVAL,
    });
  });

  it('says so when only the head of the chain is another one', async () => {
    const { database, store } = await setup(20);
    await database.query(`UPDATE audit_head SET chain = decode(repeat('00', 32), 'hex')`);
    expect((await verifyAudited({ store, database })).finding).toMatchObject({
      problem: 'records',
      upTo: 140,
    });
  });

  it('is missed when it is gone', async () => {
    const { store, database, events } = await setup(20);
    const audited = { store, database };
    await audited.database.query('DELETE FROM audit_hashes WHERE page = 2');
    expect((await verifyAudited(audited)).finding).toMatchObject({
      problem: 'records',
      number: 65,
      id: events[64]?.id,
    });
  });

  it('contradicts a history that was sealed anew', async () => {
    const { tables, events, ...audited } = await setup(20);
    const { database } = audited;
    const key = createKey();
    const signer = createSealSigner({ database, key });
    expect(await signer.signNew('2026-05-19T12:00:00.000Z')).toBe('signed');
    await tables.query(`UPDATE eventstore.events SET data = '{"n":7}' WHERE position = $1`, [
      events[3]?.position,
    ]);
    await resetReadModels(database, projections);
    expect(await signer.signNew('2026-05-19T12:01:00.000Z')).toBe('behind');
    await seal(audited);
    expect(await signer.signNew('2026-05-19T12:02:00.000Z')).toBe('contradicted');
    expect((await verifyAudited(audited)).finding).toMatchObject({
      problem: 'changed',
      number: 1,
      upTo: 140,
    });
  });

  it('goes through a root that was kept elsewhere, or does not', async () => {
    const { tables, events, ...audited } = await setup(20);
    const kept = manifestOf(await exportText(audited, { to: 77 }))['chainAfter'] as string;
    await writeHistory(audited.store, 1);
    expect(await verifyAudited(audited, { root: kept })).toMatchObject({ finding: null, rootAt: 77 });
    await tables.query(`UPDATE eventstore.events SET data = '{"n":7}' WHERE position = $1`, [
      events[3]?.position,
    ]);
    await resetReadModels(audited.database, projections);
    await seal(audited);
    expect((await verifyAudited(audited)).finding).toBeNull();
    expect((await verifyAudited(audited, { root: kept })).finding).toMatchObject({ problem: 'root' });
  });

  it('tells of events that were there when something was signed', async () => {
    const { tables, events, ...audited } = await setup(20);
    const key = createKey();
    await createSealSigner({ database: audited.database, key }).signNew('2026-05-19T12:00:00.000Z');
    await tables.query('DELETE FROM eventstore.events WHERE position >= $1', [events[100]?.position]);
    await resetReadModels(audited.database, projections);
    await seal(audited);
    expect((await verifyAudited(audited)).finding).toMatchObject({
      problem: 'missing',
      number: 101,
      upTo: 140,
    });
  });
});
