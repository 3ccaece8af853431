import { AppError } from '../errors.ts';

export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** Ctrl-C, or SIGTERM. */
export class InterruptedError extends AppError {
  constructor() {
    super('INTERRUPTED', 'Interrupted');
  }
}
