import { compareSync, hashSync } from 'bcryptjs';

/** Runs in a worker thread, where blocking harms nobody; `passwords.ts` starts it. */
export function hashPassword({ password, cost }: { password: string; cost: number }): string {
  return hashSync(password, cost);
}

/** As {@link hashPassword}. */
export function verifyPassword({ password, hash }: { password: string; hash: string }): boolean {
  return compareSync(password, hash);
}
