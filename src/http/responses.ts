import type { Response } from 'express';

/** Answers 200 or the given status in the format every success has. */
export function sendSuccess(res: Response, message: string, data?: unknown, status = 200): void {
  res.status(status).json({ success: true, message, ...(data !== undefined && { data }) });
}

export interface Page {
  /** Counts from 1. */
  readonly page: number;
  readonly limit: number;
  /** Entries on all pages. */
  readonly total: number;
}

/** Answers 200 with one page of a list. */
export function sendPage(
  res: Response,
  message: string,
  data: readonly unknown[],
  { page, limit, total }: Page,
): void {
  const totalPages = Math.ceil(total / limit);
  const meta = { total, page, limit, totalPages, hasNextPage: page < totalPages, hasPrevPage: page > 1 };
  res.json({ success: true, message, data, meta });
}

/**
 * Answers 200 with one page of a list that is gone through by a cursor.
 * @param nextCursor where the next page begins, also behind the last one: what is yet to come will stand there
 */
export function sendCursorPage(
  res: Response,
  message: string,
  data: readonly unknown[],
  meta: { readonly limit: number; readonly hasNextPage: boolean; readonly nextCursor: string },
): void {
  res.json({ success: true, message, data, meta });
}
