import { generateKeyPairSync, randomUUID } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { exportLines } from '../../src/audit/export-events.ts';
import type { ExportOptions } from '../../src/audit/export-events.ts';
import { auditSealsProjection } from '../../src/audit/seals-projection.ts';
import { publicKeys, signingKey } from '../../src/audit/signing.ts';
import type { PublicKeys, SigningKey } from '../../src/audit/signing.ts';
import { verifyExport } from '../../src/audit/verify-export.ts';
import type { ExportVerdict } from '../../src/audit/verify-export.ts';
import { verifyStore } from '../../src/audit/verify-store.ts';
import type { StoreVerdict } from '../../src/audit/verify-store.ts';
import type { Database } from '../../src/database.ts';
import type { EventStore, PositionedEvent } from '../../src/events/event-store.ts';
import { loadCheckpoint } from '../../src/subscriptions/checkpoints.ts';
import { consume } from '../../src/subscriptions/consumer.ts';
import type { Consumer } from '../../src/subscriptions/consumer.ts';
import { doubleEnd, postgresEnd } from './copying.ts';
import type { CopyEnd } from './copying.ts';
import { createTestDatabase, silentLogger } from './database.ts';

export const noKeys: PublicKeys = new Map();
export const forever = new AbortController().signal;

export interface TestKey extends SigningKey {
  readonly publicKey: KeyObject;
  /** The key as one that is trusted. */
  readonly trusted: PublicKeys;
}

export function createKey(): TestKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return { ...signingKey(privateKey), publicKey, trusted: publicKeys([publicKey]) };
}

/** An event store with its seals, as one adapter has them. */
export interface AuditedStore {
  readonly store: EventStore;
  readonly database: Database;
  readonly end: CopyEnd;
}

export const adapters = [
  { adapter: 'Postgres', open: () => audited(postgresEnd()) },
  { adapter: 'EventStoreDB', open: () => audited(doubleEnd()) },
] as const;

/** Closed with the test. */
async function audited(opening: Promise<CopyEnd>): Promise<AuditedStore> {
  const [end, seals] = await Promise.all([opening, createTestDatabase()]);
  onTestFinished(async () => {
    await end.close();
    await seals.drop();
  });
  return { store: end.store, database: seals.database, end };
}

/** Has the projection take everything that is in the store now. */
export async function seal(
  { store, database }: Pick<AuditedStore, 'store' | 'database'>,
  overrides: Partial<Consumer> = {},
): Promise<void> {
  const consumer = { ...auditSealsProjection, ...overrides };
  const head = await store.head();
  const done = new AbortController();
  if ((await loadCheckpoint(database, consumer.name)) >= head) return;
  await consume(
    {
      ...consumer,
      committed(position) {
        if (position >= head) done.abort();
        return Promise.resolve();
      },
    },
    { store, database, logger: silentLogger, signal: done.signal },
  );
}

/** Everything the projection has written, in a form to compare. */
export async function sealRows(database: Database): Promise<unknown> {
  const tables = await Promise.all(
    ['audit_hashes ORDER BY page', 'audit_seals ORDER BY number', 'audit_head'].map((table) =>
      database.query(`SELECT * FROM ${table}`),
    ),
  );
  return tables.map(({ rows }) => rows);
}

/**
 * Writes a history as the store would have come to it: one event an append, in order. The ids of jobs and events are new ones, so
 * that the same history can be written again.
 */
export async function writeEvents(store: EventStore, events: readonly PositionedEvent[]): Promise<void> {
  const jobs = new Map<string, string>();
  const revisions = new Map<string, number>();
  for (const { stream, type, data, metadata } of events) {
    const renamed = stream.replace(/^(\w+-)(.{36})/, (_, prefix: string, id: string) => {
      if (!jobs.has(id)) jobs.set(id, randomUUID());
      return `${prefix}${jobs.get(id)}`;
    });
    const last = revisions.get(renamed) ?? -1;
    revisions.set(renamed, last + 1);
    await store.append(renamed, [{ id: randomUUID(), type, data, metadata }], {
      expected: last < 0 ? 'no_stream' : last,
    });
  }
}

export interface Exported {
  /** With their ends; the manifest's is the last. */
  readonly lines: readonly string[];
  readonly text: string;
}

export async function exportText(
  { store, database }: Pick<AuditedStore, 'store' | 'database'>,
  options: Partial<ExportOptions> = {},
): Promise<Exported> {
  let text = '';
  const lines = exportLines({
    store,
    database,
    from: null,
    to: null,
    key: null,
    keys: noKeys,
    software: 'asyncly test',
    now: '2026-05-20T00:00:00.000Z',
    signal: forever,
    ...options,
  });
  for await (const some of lines) text += some;
  return { text, lines: text.split(/(?<=\n)/) };
}

/** A folder of the test's own, and what it takes to have something verified in it. */
export async function createVerifier(): Promise<
  (content: string | Buffer, trust?: { keys?: PublicKeys; root?: string }) => Promise<ExportVerdict>
> {
  const folder = await mkdtemp(path.join(tmpdir(), 'asyncly-audit-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'export.ndjson');
  return async (content, { keys = noKeys, root = null } = {}) => {
    await writeFile(file, content);
    return verifyExport({ file, keys, root, signal: forever });
  };
}

export async function verifyAudited(
  { store, database }: Pick<AuditedStore, 'store' | 'database'>,
  { keys = noKeys, root = null }: { keys?: PublicKeys; root?: string | null } = {},
): Promise<StoreVerdict> {
  return verifyStore({ store, database, keys, root, signal: forever });
}

export const manifestOf = ({ lines }: Exported): Record<string, unknown> =>
  (JSON.parse(lines.at(-1) ?? '') as { data: Record<string, unknown> }).data;

export const readText = (file: string): Promise<string> => readFile(file, 'utf8');
