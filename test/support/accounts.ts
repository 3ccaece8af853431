import { randomUUID } from 'node:crypto';
import { hashSync } from 'bcryptjs';
import { v7 as uuidv7 } from 'uuid';
import { createIdentityStore } from '../../src/identity/identity-store.ts';
import { newApiKey, sha256 } from '../../src/identity/tokens.ts';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import { silentLogger } from './database.ts';

export interface Account {
  readonly id: string;
  readonly email: string;
  readonly password: string;
  readonly apiKey: string;
}

export interface Accounts {
  newAccount(): Promise<Account>;
  close(): Promise<void>;
}

/** Of every account made here. */
export const PASSWORD = 'securepassword123';
/** At bcrypt's lowest cost: logging in with it takes milliseconds. */
const passwordHash = hashSync(PASSWORD, 4);

/**
 * Makes accounts behind the back of the service that uses this database. Registering one and logging in takes the service half
 * a second of hashing, on purpose; a test that is not about that need not wait for it.
 */
export function createAccounts(databaseUrl: string): Accounts {
  const database = createDatabase({
    url: databaseUrl,
    max: 1,
    applicationName: 'test accounts',
    logger: silentLogger,
  });
  return {
    async newAccount() {
      const email = `${randomUUID()}@example.com`;
      const account = { id: uuidv7(), email, password: PASSWORD, apiKey: newApiKey() };
      const user = { id: account.id, email: account.email, passwordHash, createdAt: new Date() };
      await createIdentityStore(database).addUser(user, sha256(account.apiKey));
      return account;
    },
    close: () => database.close(),
  };
}
