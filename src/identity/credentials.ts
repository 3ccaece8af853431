import { z } from 'zod';

/** The longest address that mail can be sent to (RFC 5321, with its erratum 1690). */
export const MAX_EMAIL_LENGTH = 254;
const MIN_PASSWORD_LENGTH = 8;
/** bcrypt reads no more than this, as UTF-8. */
const MAX_PASSWORD_BYTES = 72;

const INVALID_EMAIL = 'Invalid email format';

/** The length comes first: the expression is not to run over half a megabyte. */
const email = z
  .string({ error: INVALID_EMAIL })
  .max(MAX_EMAIL_LENGTH, { error: `Email must be at most ${MAX_EMAIL_LENGTH} characters`, abort: true })
  .regex(z.regexes.email, INVALID_EMAIL);

const password = z
  .string({ error: 'Password is required' })
  .min(MIN_PASSWORD_LENGTH, `Password must be at least ${MIN_PASSWORD_LENGTH} characters`)
  .refine(
    (text) => fitsBcrypt(asHashed(text)),
    `Password must be at most ${MAX_PASSWORD_BYTES} bytes, without NUL characters`,
  );

/** What a new account needs. */
export const registrationSchema = z.object({ email, password });

export type Credentials = z.infer<typeof registrationSchema>;

/** A password as it is hashed and measured: composed (NFC, RFC 8265), since keyboards send the same letter in different ways. */
export function asHashed(password: string): string {
  return password.normalize('NFC');
}

/**
 * Whether bcrypt tells this text from every other: it cuts longer ones and takes NUL for their end, and UTF-8 has one and the same
 * substitute for all halves of surrogate pairs.
 */
export function fitsBcrypt(text: string): boolean {
  return !/[\0\p{Surrogate}]/u.test(text) && Buffer.byteLength(text) <= MAX_PASSWORD_BYTES;
}
