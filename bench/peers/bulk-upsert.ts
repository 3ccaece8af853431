import { randomUUID } from 'node:crypto';
import { connect } from '../lib/connect.ts';

const BATCH = 500;
const STEPS = ['PENDING', 'PROCESSING', 'PROCESSING', 'PROCESSING', 'DONE'] as const;

const TABLE = `CREATE TABLE rows (
  id uuid PRIMARY KEY, user_id text NOT NULL, status text NOT NULL, payload json NOT NULL, result json,
  updated_at timestamptz NOT NULL, revision integer NOT NULL)`;
const UPSERT = `INSERT INTO rows
  SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::json[], $5::json[], $6::timestamptz[], $7::integer[])
  ON CONFLICT (id) DO UPDATE SET status = EXCLUDED.status, result = EXCLUDED.result,
    updated_at = EXCLUDED.updated_at, revision = EXCLUDED.revision`;

/**
 * What filling a read model would cost if there were nothing but the rows: one upsert an event, 500 to a statement, over one connection,
 * with nothing decoded and nothing folded; the disk is not waited for, as in a rebuild.
 * @returns how many a second
 */
export async function upsertInBulk(url: string, events: number): Promise<number> {
  const client = await connect(url);
  try {
    await client.query(`SET synchronous_commit = off; ${TABLE}`);
    const payload = JSON.stringify({ to: 'recipient@example.com', subject: 'Your order has been shipped' });
    const result = JSON.stringify({ accepted: true });
    const at = new Date().toISOString();
    const all = <T>(value: T): T[] => Array.from({ length: BATCH }, () => value);
    const rounds = Math.ceil(events / (BATCH * STEPS.length));
    const began = performance.now();
    for (let round = 0; round < rounds; round++) {
      const ids = Array.from({ length: BATCH }, () => randomUUID());
      for (const [revision, status] of STEPS.entries()) {
        await client.query({
          name: 'upsert',
          text: UPSERT,
          values: [
            ids,
            all('a user'),
            all(status),
            all(payload),
            all(status === 'DONE' ? result : null),
            all(at),
            all(revision),
          ],
        });
      }
    }
    return (rounds * BATCH * STEPS.length) / ((performance.now() - began) / 1_000);
  } finally {
    await client.end();
  }
}
