import type { Position } from '../../events/event-store.ts';

const VERSION = '1.';
/** What the stores can be asked for: Postgres's bigint is the narrowest. */
const MAX_POSITION = 2n ** 63n - 1n;

/** A place in the store's order as clients keep it, without a meaning to them. */
export function encodeCursor(position: Position): string {
  return Buffer.from(VERSION + position.toString()).toString('base64url');
}

/** @returns null for what {@link encodeCursor} did not write */
export function decodeCursor(cursor: string): Position | null {
  const text = Buffer.from(cursor, 'base64url').toString('latin1');
  if (!text.startsWith(VERSION)) return null;
  const digits = text.slice(VERSION.length);
  if (!/^(-1|\d{1,19})$/.test(digits)) return null;
  const position = BigInt(digits);
  return position <= MAX_POSITION ? position : null;
}
