import { randomUUID } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { SEAL_INTERVAL } from '../../src/audit/chain.ts';
import { createSealSigner, startSealSigner } from '../../src/audit/seal-signer.ts';
import { loadHead, loadSignedHeads } from '../../src/audit/seals.ts';
import { headText, isSignedBy } from '../../src/audit/signing.ts';
import { jobLogStream } from '../../src/events/job.ts';
import { adapters, createKey, seal } from '../support/auditing.ts';
import { copiedEvent, writeHistory } from '../support/copying.ts';
import { silentLogger } from '../support/database.ts';
import { eventually } from '../support/waiting.ts';

const [{ open }] = adapters;

async function setup() {
  const audited = await open();
  const key = createKey();
  const signer = createSealSigner({ database: audited.database, key });
  const signed = async () => {
    const heads = await loadSignedHeads(audited.database, 0, Number.MAX_SAFE_INTEGER);
    for (const head of heads) {
      if (head.keyId === key.id) expect(isSignedBy(key.publicKey, headText(head), head.signature)).toBe(true);
    }
    return heads.map(({ events, signedAt }) => [events, signedAt.slice(14, 16)]);
  };
  return { ...audited, key, signer, signed };
}

describe('the signer of seals', () => {
  it('signs every seal once, and between two of them the head once a minute', async () => {
    const { signer, signed, store, database } = await setup();
    expect(await signer.signNew('2026-05-19T10:00:00.000Z')).toBe('nothing-new');
    await writeHistory(store, 2);
    await seal({ store, database });
    expect(await signer.signNew('2026-05-19T10:01:00.000Z')).toBe('signed');
    expect(await signed()).toEqual([[14, '01']]);
    await store.append(jobLogStream(randomUUID()), [copiedEvent()], { expected: 'no_stream' });
    await seal({ store, database });
    expect(await signer.signNew('2026-05-19T10:01:59.999Z')).toBe('nothing-new');
    expect(await signer.signNew('2026-05-19T10:02:00.000Z')).toBe('signed');
    expect(await signed()).toEqual([[15, '02']]);
    expect(await signer.signNew('2026-05-19T10:09:00.000Z')).toBe('nothing-new');

    await writeHistory(store, 300);
    await seal({ store, database });
    expect(await signer.signNew('2026-05-19T10:09:01.000Z')).toBe('signed');
    expect(await signed()).toEqual([
      [SEAL_INTERVAL, '09'],
      [2 * SEAL_INTERVAL, '09'],
    ]);
    expect(await signer.signNew('2026-05-19T10:09:02.000Z')).toBe('nothing-new');
    expect(await signer.signNew('2026-05-19T10:10:01.000Z')).toBe('signed');
    expect(await signed()).toEqual([
      [SEAL_INTERVAL, '09'],
      [2 * SEAL_INTERVAL, '09'],
      [2_115, '10'],
    ]);
  });

  it('may run in several processes, and with another key', async () => {
    const { signer, signed, store, database } = await setup();
    await writeHistory(store, 150);
    await seal({ store, database });
    const rival = createSealSigner({ database, key: createKey() });
    const now = '2026-05-19T10:00:00.000Z';
    await Promise.all([signer.signNew(now), signer.signNew(now), rival.signNew(now)]);
    const found = await signed();
    expect(found.length).toBeLessThanOrEqual(2);
    expect(new Set(found.map(([events]) => events))).toEqual(new Set([SEAL_INTERVAL]));
    expect(await rival.signNew('2026-05-19T10:01:00.000Z')).toBe('signed');
    expect(await signer.signNew('2026-05-19T10:01:00.000Z')).toBe('nothing-new');
  });

  it('signs nothing when the hashes it would build on are gone', async () => {
    const { signer, store, database } = await setup();
    await writeHistory(store, 10);
    await seal({ store, database });
    await signer.signNew('2026-05-19T10:00:00.000Z');
    await database.query('DELETE FROM audit_hashes WHERE page = 1');
    await writeHistory(store, 1);
    await seal({ store, database });
    expect(await signer.signNew('2026-05-19T10:05:00.000Z')).toBe('contradicted');
  });

  it('runs beside the projector, past failures of Postgres', async () => {
    const { key, store, database } = await setup();
    await writeHistory(store, 147);
    await seal({ store, database });
    let failures = 1;
    const service = startSealSigner({
      key,
      logger: silentLogger,
      database: {
        query: (sql, values) =>
          failures-- > 0 ? Promise.reject(new Error('away')) : database.query(sql, values),
        transaction: (work) => database.transaction(work),
        pipeline: (first, work) => database.pipeline(first, work),
      },
    });
    onTestFinished(() => service.stop());
    const { events } = await loadHead(database);
    expect(events).toBe(1_029);
    const heads = await eventually(async () => {
      const found = await loadSignedHeads(database, 0, events);
      return found.length > 0 && found;
    }, 30_000);
    expect(heads.map((head) => [head.events, head.keyId])).toEqual([[SEAL_INTERVAL, key.id]]);
    await service.stop();
  });
});
