/**
 * An expected failure of the domain or of a part it relies on. `code` is stable and meant for programs, `message` for
 * people, `data` names what the decision was about. HTTP statuses are given in `http/errors.ts` alone.
 */
export class AppError extends Error {
  readonly code: string;
  readonly data: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, data: Record<string, unknown> = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
    this.data = data;
  }
}

/** A part the service needs (event store, Postgres, queue) does not answer now; the same call may succeed later. */
export class UnavailableError extends AppError {
  constructor(part: string, message: string, options?: ErrorOptions) {
    super('UNAVAILABLE', message, { part }, options);
  }
}

/** Start-up cannot go on: the message names the variable, file or part at fault and what to do about it. */
export class StartupError extends AppError {
  constructor(message: string, data: Record<string, unknown> = {}, options?: ErrorOptions) {
    super('STARTUP', message, data, options);
  }
}

/** The text of anything that was thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
