import { described, eventsFrom, identify } from './finding.ts';
import type { Finding } from './finding.ts';
import type { ChainedEvent } from './walk.ts';

export interface Difference {
  /** The last event that is as it was; null before the first. */
  readonly previous: ChainedEvent | null;
  /** Events from the one on that is not what it was; at least this one. */
  readonly actual: readonly ChainedEvent[];
  /** What was kept of the events with the same numbers; undefined where nothing is. */
  readonly kept: readonly (Buffer | undefined)[];
}

/** What has happened to a history, as far as the next events tell. */
export function explainDifference({ previous, actual, kept }: Difference): Finding {
  const [first] = actual;
  if (!first) throw new Error('A difference needs an event');
  const { number, event } = first;
  if (kept[0] === undefined) {
    const message = `The hash that was kept of event ${number}, ${described(event)}, is gone.`;
    return { problem: 'records', message, number, ...identify(event) };
  }
  const now = actual.map(({ leaf }) => leaf.toString('hex'));
  const then = kept.map((hash) => hash?.toString('hex') ?? '');
  const [present = ''] = now;
  const [past = ''] = then;

  /** Where the event that is now here once was, and where the event that was here is now: events further on. */
  const came = then.indexOf(present);
  const went = now.indexOf(past);
  const place = previous ? `behind ${described(previous.event)}` : 'at the beginning';
  if (came > 0 && went < 0) {
    const upTo = number + came - 1;
    const message = `The store lacks ${eventsFrom(number, upTo)}, ${place}; next comes ${described(event)}.`;
    return { problem: 'missing', message, number, upTo, ...identify(event) };
  }
  if (came > 0 || went > 0) {
    const message =
      came > 0
        ? `Event ${number + came}, ${described(event)}, stands where event ${number} was: the order was changed.`
        : `${described(event)} was added ${place}, as event ${number}.`;
    return { problem: 'misplaced', message, number, ...identify(event) };
  }
  const message = `Event ${number} is not what it was: ${described(event)} was changed, or has taken another's place.`;
  return { problem: 'changed', message, number, ...identify(event) };
}
