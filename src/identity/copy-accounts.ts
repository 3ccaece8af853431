import type { Database } from '../database.ts';
import { AppError, errorMessage } from '../errors.ts';

/** Identity data, in an order in which rows come behind what they refer to. */
const TABLES = [
  { table: 'users', key: 'id' },
  { table: 'refresh_tokens', key: 'token_hash' },
  { table: 'api_keys', key: 'key_hash' },
  { table: 'webhook_secrets', key: 'user_id, secret' },
] as const;

const PAGE = 1_000;

/** Rows per table. */
export interface CopiedRows {
  readonly table: string;
  readonly found: number;
  /** Those that were not there yet. */
  readonly copied: number;
}

/** The two databases do not go together: another account has the same address, or their schemas differ. */
class AccountsConflictError extends AppError {
  constructor(table: string, cause: unknown) {
    super(
      'ACCOUNTS_CONFLICT',
      `The rows of ${table} cannot be copied: ${errorMessage(cause)}`,
      { table },
      { cause },
    );
  }
}

/**
 * Copies accounts with everything that lets their owners in and is not in the event store: refresh tokens, API keys, webhook
 * secrets. All or nothing; rows that are there already stay as they are.
 * @throws AccountsConflictError, UnavailableError, or the signal's reason
 */
export async function copyAccounts(from: Database, to: Database, signal: AbortSignal): Promise<CopiedRows[]> {
  return from.transaction(async (source) => {
    await source.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
    return to.transaction(async (target) => {
      const report: CopiedRows[] = [];
      for (const { table, key } of TABLES) {
        let found = 0;
        let copied = 0;
        await source.query(
          `DECLARE ${table}_rows NO SCROLL CURSOR FOR SELECT row_to_json(t) AS row FROM ${table} t`,
        );
        for (;;) {
          signal.throwIfAborted();
          const { rows } = await source.query<{ row: object }>(`FETCH ${PAGE} FROM ${table}_rows`);
          if (rows.length === 0) break;
          found += rows.length;
          const { rowCount } = await target
            .query(
              `INSERT INTO ${table} SELECT * FROM json_populate_recordset(NULL::${table}, $1) ON CONFLICT (${key}) DO NOTHING`,
              [JSON.stringify(rows.map(({ row }) => row))],
            )
            .catch((error: unknown) => {
              throw new AccountsConflictError(table, error);
            });
          copied += rowCount;
        }
        report.push({ table, found, copied });
      }
      return report;
    });
  });
}
