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
  .refine(fitsBcrypt, `Password must be at most ${MAX_PASSWORD_BYTES} bytes, without NUL characters`);

/** What a new account needs. */
export const registrationSchema = z.object({ email, password });

export type Credentials = z.infer<typeof registrationSchema>;

/** Whether bcrypt tells this password from every other: it cuts longer ones and takes NUL for their end. */
export function fitsBcrypt(text: string): boolean {
  return !text.includes('\0') && Buffer.byteLength(text) <= MAX_PASSWORD_BYTES;
}
