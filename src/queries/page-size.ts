import type { Queryable } from '../database.ts';
import { AppError } from '../errors.ts';

/** Bytes of what users and handlers have put into the entries of one page. */
const MAX_PAGE_BYTES = 8_388_608;
/** Entries that are listed whatever they hold: each is bounded by what a submission and a result may be. */
const ALWAYS_LISTED = 10;

/** The entries of a page hold more than one answer should. */
class PageTooLargeError extends AppError {
  constructor() {
    super(
      'PAGE_TOO_LARGE',
      `The entries of this page hold more than ${MAX_PAGE_BYTES / 1_048_576} MiB: ask for fewer with limit (${ALWAYS_LISTED} are always listed)`,
    );
  }
}

/** Whether a page of so many entries may hold too much, so that it has to be looked at before it is read. */
export function mayBeTooLarge(limit: number): boolean {
  return limit > ALWAYS_LISTED;
}

/**
 * For a statement that reads a page and its size in one.
 * @param bytes SQL for what is in the page altogether
 * @returns SQL for whether that may be sent
 */
export function pageFits(bytes: string): string {
  return `${bytes} <= ${MAX_PAGE_BYTES}`;
}

/**
 * A hundred large entries would be fifty megabytes, several times over in memory.
 * @param bytes of a page altogether
 * @throws PageTooLargeError
 */
export function assertFits(bytes: bigint): void {
  if (bytes > BigInt(MAX_PAGE_BYTES)) throw new PageTooLargeError();
}

/**
 * Looks at how much a page holds before it is read.
 * @param sizes a SELECT of each entry's size in bytes, as `bytes`
 * @throws PageTooLargeError
 */
export async function assertPageFits(
  database: Queryable,
  limit: number,
  sizes: string,
  values: readonly unknown[],
): Promise<void> {
  if (!mayBeTooLarge(limit)) return;
  const { rows } = await database.query<{ bytes: bigint }>(
    `SELECT coalesce(sum(bytes), 0)::bigint AS bytes FROM (${sizes}) entries`,
    values,
  );
  assertFits(rows[0]?.bytes ?? 0n);
}
