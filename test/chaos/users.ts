import { createSecretKey, randomUUID } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';
import type { Database } from '../../src/database.ts';
import { createTokens, newApiKey, sha256 } from '../../src/identity/tokens.ts';
import { testSecrets } from '../support/service.ts';
import type { User } from './client.ts';

/** Longer than any run. */
const LIFETIME_MS = 4 * 3_600_000;

/**
 * Accounts written into the tables, since the hash of a password takes a quarter of a second on purpose. Half of the users come
 * with an API key, half with an access token.
 */
export async function createUsers(database: Database, count: number): Promise<User[]> {
  const tokens = createTokens({
    kind: 'access',
    key: createSecretKey(testSecrets.JWT_ACCESS_SECRET, 'utf8'),
    lifetime: LIFETIME_MS,
    clock: Date.now,
  });
  const users = Array.from({ length: count }, (_, index) => {
    const [id, apiKey] = [uuidv7(), newApiKey()];
    return { id, apiKey, token: index % 2 === 0 ? apiKey : tokens.issue(id, randomUUID()).token };
  });
  await database.query(
    `WITH given AS (SELECT * FROM unnest($1::uuid[], $2::bytea[]) AS row (id, key_hash)),
     added AS (
       INSERT INTO users (id, email, password_hash, created_at)
       SELECT id, id || '@example.com', '', now() FROM given RETURNING id
     )
     INSERT INTO api_keys (key_hash, user_id, created_at)
     SELECT key_hash, id, now() FROM given JOIN added USING (id)`,
    [users.map(({ id }) => id), users.map(({ apiKey }) => sha256(apiKey))],
  );
  return users.map(({ id, token }) => ({ id, token }));
}
