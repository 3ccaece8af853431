import { afterAll } from 'vitest';
import { createPasswords } from '../../src/identity/passwords.ts';

/** One for all tests of a file, at the lowest cost: its threads start once. Identities that share it are not closed. */
export const passwords = createPasswords(4);

afterAll(() => passwords.close());
