import { errorMessage, UnavailableError } from '../../errors.ts';

/** The SQLSTATE of an error that Postgres itself reported; null for anything else. */
export function sqlState(error: unknown): string | null {
  const code = codeOf(error);
  return code !== null && /^[0-9A-Z]{5}$/.test(code) && 'severity' in (error as object) ? code : null;
}

/**
 * Whether an error says that Postgres was away, cut the connection, or had no room for it: SQLSTATE classes 08
 * (connection), 53 (resources) and 57 (intervention, statement timeout), errors of the socket, and the driver's own.
 */
export function isConnectionLoss(error: unknown): boolean {
  const state = sqlState(error);
  if (state !== null) return /^(08|53|57)/.test(state);
  if (!(error instanceof Error)) return false;
  const code = codeOf(error);
  if (code !== null) return /^(ECONN|EPIPE|ETIMEDOUT|ENET|EHOST|EAI_|ENOTFOUND|ENOENT|ERR_STREAM)/.test(code);
  return /connection|timeout|not queryable/i.test(error.message);
}

/** The error as the rest of the code knows it: losses become `UnavailableError`, everything else stays what it is. */
export function translateError(error: unknown): unknown {
  if (!isConnectionLoss(error)) return error;
  return new UnavailableError('postgres', `Postgres does not answer: ${errorMessage(error)}`, {
    cause: error,
  });
}

function codeOf(error: unknown): string | null {
  if (typeof error !== 'object' || error === null) return null;
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : null;
}
