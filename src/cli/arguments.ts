import { InvalidArgumentError } from 'commander';
import { validate as isUuid } from 'uuid';

/** @throws InvalidArgumentError */
export function jobIdArgument(text: string): string {
  if (!isUuid(text)) throw new InvalidArgumentError('A job id is a UUID.');
  return text.toLowerCase();
}

/** @returns milliseconds since the epoch @throws InvalidArgumentError */
export function timeArgument(text: string): number {
  const time = /^\d{4}-\d\d-\d\d(T.*(Z|[+-]\d\d:\d\d))?$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time)) throw new InvalidArgumentError('A time looks like 2026-05-19T10:00:00Z.');
  return time;
}

/** A whole number of at least `least`. @throws InvalidArgumentError */
export function countArgument(least: number): (text: string) => number {
  return (text) => {
    const count = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (!(count >= least)) throw new InvalidArgumentError(`It has to be a whole number, ${least} or more.`);
    return count;
  };
}

/** Postgres's bigint: the narrower of the two stores' positions. */
const MAX_POSITION = 2n ** 63n - 1n;

/** @throws InvalidArgumentError */
export function positionArgument(text: string): bigint {
  const position = /^\d{1,19}$/.test(text) ? BigInt(text) : null;
  if (position === null || position > MAX_POSITION) {
    throw new InvalidArgumentError('A position is a whole number, as events tail prints it.');
  }
  return position;
}
