import pg from 'pg';
import { connect } from '../lib/connect.ts';
import type { NewEvent } from '../../src/events/event-store.ts';

/** A log that nothing but inserts into, without streams' revisions, conflicts, or an order that readers can rely on. */
export interface BareLog {
  append(stream: string, event: NewEvent): Promise<unknown>;
  close(): Promise<void>;
}

const TABLE = `CREATE TABLE log (
  position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream text NOT NULL, id uuid NOT NULL, type text NOT NULL,
  data json NOT NULL, metadata json NOT NULL)`;
const COLUMNS = 'stream, id, type, data, metadata';

/** What waits while a statement is under way goes together in the next, over one connection. */
export async function openMicroBatcher(url: string): Promise<BareLog> {
  const client = await connect(url);
  await client.query(TABLE);
  let waiting: { row: readonly string[]; resolve: () => void; reject: (error: unknown) => void }[] = [];
  let sending = false;
  async function send(): Promise<void> {
    sending = true;
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      const column = (index: number): string[] => batch.map(({ row }) => row[index]!);
      await client
        .query({
          name: 'append',
          text: `INSERT INTO log (${COLUMNS}) SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::json[], $5::json[])`,
          values: [0, 1, 2, 3, 4].map(column),
        })
        .then(
          () => batch.forEach(({ resolve }) => resolve()),
          (error: unknown) => batch.forEach(({ reject }) => reject(error)),
        );
      // Lets those who were just answered join the next.
      await new Promise(setImmediate);
    }
    sending = false;
  }
  return {
    append: (stream, event) =>
      new Promise<void>((resolve, reject) => {
        waiting.push({ row: rowOf(stream, event), resolve, reject });
        if (!sending) void send();
      }),
    close: () => client.end(),
  };
}

/** One insert and one commit each, over a pool of 10. */
export async function openInsertingPool(url: string): Promise<BareLog> {
  const pool = new pg.Pool({ connectionString: url, max: 10 });
  pool.on('error', () => undefined);
  await pool.query(TABLE);
  return {
    append: (stream, event) =>
      pool.query({
        name: 'append',
        text: `INSERT INTO log (${COLUMNS}) VALUES ($1, $2, $3, $4, $5)`,
        values: [...rowOf(stream, event)],
      }),
    close: () => pool.end(),
  };
}

const rowOf = (stream: string, { id, type, data, metadata }: NewEvent): readonly string[] => [
  stream,
  id,
  type,
  JSON.stringify(data),
  JSON.stringify(metadata),
];
